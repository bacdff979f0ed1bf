"""Tensors as codecs see them: rows of unsigned integers on the host."""

from math import prod
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.artifacts import ITEM_BYTES, Dtype
from schemas.errors import ArtifactWriteFailed
from workers.artifacts.host_buffer_cache import HostBufferCache

DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
NAMES: dict[torch.dtype, Dtype] = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(tensor: Tensor) -> Dtype:
    try:
        return NAMES[tensor.dtype]
    except KeyError:
        raise ArtifactWriteFailed(
            f"dtype {tensor.dtype} cannot be stored; {', '.join(DTYPES)} can"
        ) from None


def as_rows(tensor: Tensor) -> Tensor:
    """``tensor`` as (rows, width): all dimensions but the last flattened."""
    width = tensor.shape[-1] if tensor.ndim else 1
    return tensor.detach().reshape(-1, width)


def bytes_of(rows: Tensor) -> NDArray[Any]:
    """(rows, width) on the host as unsigned integers, sharing its memory, in any layout."""
    return rows.view(_INTEGERS[rows.element_size()]).numpy()


def as_array(data: Tensor, dtype: Dtype, width: int) -> NDArray[Any]:
    """Contiguous bytes on the host, uint8 (n,), as (rows, width) of unsigned integers."""
    return data.numpy().view(f"<u{ITEM_BYTES[dtype]}").reshape(-1, width)


def empty(shape: tuple[int, ...], dtype: Dtype, memory: HostBufferCache) -> tuple[Tensor, Tensor]:
    """A host tensor to be filled, and its bytes as uint8 (n,) that share its memory."""
    data = torch.from_numpy(memory.take(prod(shape) * ITEM_BYTES[dtype]))
    return data.view(DTYPES[dtype]).reshape(shape), data
