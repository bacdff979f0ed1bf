"""Which layout packs a codec's frames on a device: a fused kernel where that can be, else torch."""

import functools
import logging
import threading

import torch

from schemas.attention import CodecName
from workers.artifacts.codecs.device_layout import DeviceLayout, Levels, Planes

log = logging.getLogger("retake.artifacts")

_BY_TORCH: dict[CodecName, DeviceLayout] = {"int8": Levels(), "zipnn": Planes()}


def device_layout_of(
    codec: CodecName, dtype: torch.dtype, device: torch.device
) -> DeviceLayout | None:
    """How ``codec`` packs on ``device``. None: it has no arithmetic for ``dtype``."""
    packing = _BY_TORCH.get(codec)
    if packing is None or dtype not in packing.dtypes:
        return None
    if device.type != "cuda":
        return packing
    with _PROBING:  # several threads decode, and one try tells all of them
        return _fused(codec, dtype, device) or packing


_PROBING = threading.Lock()


@functools.cache
def _fused(codec: CodecName, dtype: torch.dtype, device: torch.device) -> DeviceLayout | None:
    """The same in one kernel, where Triton and what it compiles with are there."""
    try:
        # only where there is a GPU: Triton comes with torch's builds for them
        from workers.artifacts.codecs.triton_kernels import FUSED

        packing = FUSED[codec]
        rows = torch.ones(32, 16, dtype=dtype, device=device)
        packing.unpack(packing.pack(rows, 32)[0], rows)
    except torch.OutOfMemoryError:
        raise  # of which nothing follows
    except Exception as error:  # no package, no compiler, no such chip: each fails in its own way
        log.warning("%s is packed by torch, some hundredths of a step dearer: %r", codec, error)
        return None
    return packing
