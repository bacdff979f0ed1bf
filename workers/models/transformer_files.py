"""A transformer in one file, as it is passed around: the keys of its authors' code or ComfyUI's.

The folder gives all the rest: configuration, text encoders, VAE, scheduler. diffusers reads the
file where it has a table of names for the class; what it cannot read is refused with the reason.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError, safe_open

from workers.families.base import Family
from workers.model_settings import ModelSettings
from workers.models.file_digests import sha256_of
from workers.models.overrides import DTYPES

# scales beside weights in 8 bits: who ignores them computes with other weights
_SCALES = (".scale_weight", ".weight_scale", "scaled_fp8", ".scale_input")
_SHOWN = 3


def transformer_files(settings: ModelSettings) -> dict[str, Path]:
    """The files of the settings, by component."""
    named = {
        "transformer": settings.transformer_file,
        "transformer_2": settings.transformer_2_file,
    }
    return {name: Path(path) for name, path in named.items() if path is not None}


def file_digests(settings: ModelSettings) -> dict[str, str]:
    """SHA-256 of each, by component."""
    return {name: sha256_of(path) for name, path in transformer_files(settings).items()}


def load_transformers(
    settings: ModelSettings, family: Family, folder: Path, index: dict[str, Any]
) -> dict[str, Any]:
    """The transformers that come from files of their own, by component.

    Raises ValueError for a file that diffusers does not read, ImportError, OSError.
    """
    found = {}
    for component, path in transformer_files(settings).items():
        name = (index.get(component) or (None, None))[1]
        if component not in family.components or name is None:
            raise ValueError(f"{component}_file: the model has no {component}")
        found[component] = _load(settings, component, path, folder, str(name))
    return found


def _load(settings: ModelSettings, component: str, path: Path, folder: Path, name: str) -> Any:
    cls: Any = getattr(diffusers, name, None)
    if not hasattr(cls, "from_single_file"):
        raise ValueError(f"{component}_file: diffusers reads no {name} from one file")
    if not path.is_file():
        raise ValueError(f"{component}_file: there is no file {path}")
    dtype = DTYPES[settings.dtype]
    more = _quantization(path, dtype) if path.suffix == ".gguf" else {}
    if not more:
        _check_keys(component, path)
    try:
        transformer = cls.from_single_file(
            str(path), config=str(folder), subfolder=component, torch_dtype=dtype, **more,
            local_files_only=True,
        )  # fmt: skip
    except (KeyError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{component}_file: {path.name} is no {name}, or not all of one: {error}"
        ) from error
    lost = [key for key, value in transformer.state_dict().items() if value.is_meta]
    if lost:
        shown = ", ".join(lost[:_SHOWN])
        raise ValueError(f"{component}_file: {path.name} has no {shown} ({len(lost)} are missing)")
    return transformer.eval()


def _check_keys(component: str, path: Path) -> None:
    """Raise ValueError for weights whose scales diffusers would leave out."""
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{component}_file: {path.name} is not allowed; allowed are .safetensors and .gguf"
        )
    try:
        with safe_open(path, "pt") as file:
            keys = list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{component}_file: {path.name} is damaged: {error}") from error
    scaled = [key for key in keys if key.endswith(_SCALES) or key in _SCALES]
    if scaled:
        raise ValueError(
            f"{component}_file: {path.name} is scaled fp8 ({scaled[0]}), whose scales diffusers "
            "does not apply; take the fp16 or bf16 file with quantization 'fp8', or a GGUF"
        )


def _quantization(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Weights stay in the file's bits, and are unpacked layer by layer when they are used."""
    if find_spec("gguf") is None:
        raise ImportError(f"transformer_file: {path.name} needs the package gguf: pip install gguf")
    parts: Any = diffusers  # untyped
    return {"quantization_config": parts.GGUFQuantizationConfig(compute_dtype=dtype)}
