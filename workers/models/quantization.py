"""Weights in fewer bits, as diffusers offers it. Each way is part of the fingerprint.

fp8    storage only: a layer's weights are cast to the computing dtype when it runs. Any device.
int8   linears whose weights are int8, a scale for each output channel; activations stay in the
       computing dtype. By the package torchao, which the extra ``quantization`` installs.
"""

from importlib.util import find_spec
from typing import Any

import diffusers
import torch

from workers.families.base import Family
from workers.model_settings import ModelSettings


def quantization_arguments(settings: ModelSettings, family: Family) -> dict[str, Any]:
    """Arguments for loading the transformers' linears in int8; none in other cases.

    Raises ImportError, with what to install.
    """
    if settings.quantization != "int8":
        return {}
    if find_spec("torchao") is None:
        raise ImportError(
            "quantization: 'int8' needs the package torchao: install retake[quantization]"
        )
    from torchao.quantization import Int8WeightOnlyConfig

    parts: Any = diffusers  # untyped
    # a configuration each: loading writes into it
    mapping = {
        name: parts.TorchAoConfig(Int8WeightOnlyConfig(version=2)) for name in family.components
    }
    return {"quantization_config": parts.PipelineQuantizationConfig(quant_mapping=mapping)}


def cast_layerwise(settings: ModelSettings, transformers: list[Any], dtype: torch.dtype) -> None:
    """Keep the transformers' weights in fp8 where the settings say so."""
    if settings.quantization == "fp8":
        for transformer in transformers:
            transformer.enable_layerwise_casting(
                storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype
            )
