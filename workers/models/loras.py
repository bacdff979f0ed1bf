"""LoRAs of a model: where their files are, what is in them, and which transformer they go into.

A file reaches both experts of a model that has two (Wan2.2 A14B), unless ``low_noise`` names
another for the second: such LoRAs are published in pairs.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.families.base import Family, Pipeline
from workers.model_settings import LoraFileSettings, LoraSettings, ModelSettings
from workers.models.file_digests import sha256_of

# what a key names behind its module: diffusers', peft's and the trainers' spellings
_PART = re.compile(r"\.(lora_[A-Za-z_]+|lora|lokr_\w+|alpha|magnitude)(\.|$)")
# Wan's modules in musubi-tuner's spelling, which is kohya's: dots are underscores
_KOHYA = re.compile(r"lora_unet_blocks_(\d+)_(self_attn|cross_attn|ffn)_(\w+)\.")
_SHOWN = 3  # of the keys that match nothing


def load_loras(pipeline: Pipeline, family: Family, settings: ModelSettings) -> None:
    """Put every LoRA of ``settings`` into ``pipeline``, all of them off.

    Raises ValueError for one whose keys match nothing of the model, OSError.
    """
    if settings.loras and not hasattr(pipeline, "load_lora_weights"):
        raise ValueError(f"loras: diffusers loads none into {family.name}")
    for name, lora in settings.loras.items():
        for component, file in files_of(lora, experts_of(pipeline, family)):
            _load(pipeline, component, name, lora_path(file))


def experts_of(pipeline: Pipeline, family: Family) -> tuple[str, ...]:
    """The names of the transformers that are loaded."""
    return tuple(name for name in family.components if getattr(pipeline, name, None) is not None)


def files_of(lora: LoraSettings, experts: Iterable[str]) -> Iterator[tuple[str, LoraFileSettings]]:
    """(transformer, file), for each of ``experts``: the first is that of high noise."""
    for place, component in enumerate(experts):
        yield component, lora.low_noise if place > 0 and lora.low_noise is not None else lora


def lora_scales(lora: LoraSettings, experts: Iterable[str], scale: float) -> dict[str, float]:
    """What a request's ``scale`` comes to in each transformer."""
    return {component: scale * file.scale for component, file in files_of(lora, experts)}


def lora_path(lora: LoraFileSettings) -> Path:
    """The file, fetched from the hub where ``path`` is a hub id. Raises ValueError, OSError."""
    local = Path(lora.path)
    if local.is_file():
        return local
    if local.is_dir():
        return _chosen(local, lora)
    if lora.path.startswith(("/", ".")) or lora.path.count("/") != 1:
        raise ValueError(f"loras: there is no file or folder {lora.path}")
    if lora.weight_name is not None:
        return Path(hf_hub_download(lora.path, lora.weight_name, revision=lora.revision))
    folder = snapshot_download(lora.path, revision=lora.revision, allow_patterns="*.safetensors")
    return _chosen(Path(folder), lora)


def _chosen(folder: Path, lora: LoraFileSettings) -> Path:
    if lora.weight_name is not None:
        path = folder / lora.weight_name
        if not path.is_file():
            raise ValueError(f"loras: {lora.path} has no file {lora.weight_name!r}")
        return path
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(
            f"loras: {lora.path} has {len(found)} safetensors files ({names}): weight_name chooses"
        )
    return found[0]


def lora_identity(lora: LoraSettings) -> dict[str, Any]:
    """What of ``lora`` changes numbers: the bytes of its files, wherever they lie, and scales."""
    files = {"high_noise": lora} | ({"low_noise": lora.low_noise} if lora.low_noise else {})
    return {
        which: {"sha256": sha256_of(lora_path(file)), "scale": file.scale}
        for which, file in files.items()
    }


def _load(pipeline: Pipeline, component: str, name: str, path: Path) -> None:
    """Load ``path`` into one transformer, and check that all of it found a place there."""
    second = {"load_into_transformer_2": True} if component == "transformer_2" else {}
    try:
        # read twice: what diffusers converts it writes into
        found = pipeline.lora_state_dict(_with_dots(load_file(path)))
        keys = list(found[0] if isinstance(found, tuple) else found)
        pipeline.load_lora_weights(_with_dots(load_file(path)), adapter_name=name, **second)
    except (KeyError, ValueError, SafetensorError) as error:  # converters name what they miss
        raise ValueError(f"loras: {name!r} ({path.name}) is not read: {error}") from error
    _check_taken(getattr(pipeline, component), name, path, keys)


def _with_dots(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """kohya's names of Wan's modules as ComfyUI's: diffusers wants an alpha and every module of
    the former, and takes the latter in parts and without."""
    return {
        _KOHYA.sub(r"diffusion_model.blocks.\1.\2.\3.", key): each for key, each in state.items()
    }


def _check_taken(transformer: Any, name: str, path: Path, keys: list[str]) -> None:
    """Raise ValueError unless each key's module has the LoRA now."""
    taken = {
        module
        for module, layer in transformer.named_modules()
        if isinstance(layer, BaseTunerLayer) and name in layer._get_available_adapters()
    }
    lost = [key for key in keys if _module_of(key) not in taken]
    if lost or not keys:
        shown = ", ".join(lost[:_SHOWN]) + (", …" if len(lost) > _SHOWN else "")
        raise ValueError(
            f"loras: {len(lost)} of {len(keys)} keys of {name!r} ({path.name}) match nothing of "
            f"this model: {shown or 'the file is empty'}"
        )


def _module_of(key: str) -> str:
    """The module that ``key`` changes, by its path in the transformer."""
    return _PART.split(key, maxsplit=1)[0].removeprefix("transformer.")
