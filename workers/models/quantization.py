"""Weights in fewer bits, as diffusers offers it. Each way is part of the fingerprint.

fp8             storage only: a layer's weights are cast to the computing dtype when it runs. Any
                device.
int8            linears whose weights are int8, a scale for each output channel; activations stay in
                the computing dtype.
int8_dynamic    those linears compute in int8: each row of their input has a scale of its own.
float8_dynamic  likewise in float8 (e4m3), on GPUs that have it.

All but fp8 are the package torchao's, which the extra ``quantization`` installs.
"""

from importlib.util import find_spec
from typing import Any

import diffusers
import torch

from workers.families.base import Family
from workers.model_settings import ModelSettings

FLOAT8_CAPABILITY = (8, 9)  # of a GPU that multiplies float8


def quantization_arguments(settings: ModelSettings, family: Family) -> dict[str, Any]:
    """Arguments for loading the transformers' linears quantized; none in other cases.

    Raises ImportError, with what to install, and ValueError where the device cannot compute so.
    """
    if settings.quantization in ("none", "fp8"):
        return {}
    if find_spec("torchao") is None:
        raise ImportError(
            f"quantization: {settings.quantization!r} needs the package torchao: install "
            "retake[quantization]"
        )
    parts: Any = diffusers  # untyped
    # a configuration each: loading writes into it
    mapping = {name: parts.TorchAoConfig(linears_config(settings)) for name in family.components}
    return {"quantization_config": parts.PipelineQuantizationConfig(quant_mapping=mapping)}


def linears_config(settings: ModelSettings) -> Any:
    """torchao's configuration of one transformer's linears, of any way but fp8.

    Raises ValueError where the device cannot compute so.
    """
    from torchao import quantization

    if settings.quantization == "int8":
        return quantization.Int8WeightOnlyConfig(version=2)
    if settings.quantization == "int8_dynamic":
        return quantization.Int8DynamicActivationInt8WeightConfig(version=2)
    if settings.device == "cpu" or not torch.cuda.is_available():
        raise ValueError("quantization: 'float8_dynamic' needs a GPU; allowed here is int8_dynamic")
    if (found := torch.cuda.get_device_capability()) < FLOAT8_CAPABILITY:
        raise ValueError(
            "quantization: 'float8_dynamic' needs a GPU of compute capability 8.9 or newer; this "
            f"one has {found[0]}.{found[1]}"
        )
    return quantization.Float8DynamicActivationFloat8WeightConfig(granularity=quantization.PerRow())


def cast_layerwise(settings: ModelSettings, transformers: list[Any], dtype: torch.dtype) -> None:
    """Keep the transformers' weights in fp8 where the settings say so."""
    if settings.quantization == "fp8":
        for transformer in transformers:
            transformer.enable_layerwise_casting(
                storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype
            )
