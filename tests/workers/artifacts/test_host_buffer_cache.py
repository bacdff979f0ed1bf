"""Memory is used again when nobody refers to it, and never before."""

import gc
from typing import Any

import numpy as np
import pytest
import torch

from workers.artifacts.host_buffer_cache import HostBufferCache

SIZE = 3 << 20


def address(lent: Any) -> int:
    return int(np.frombuffer(lent, np.uint8).ctypes.data)


def test_is_used_again() -> None:
    memory = HostBufferCache(SIZE)
    first = memory.take(SIZE)
    was = address(first)
    del first
    gc.collect()
    assert address(memory.take(SIZE - 5)) == was, "a little less fits too"


@pytest.mark.parametrize(
    "refer",
    [
        lambda lent: lent,
        lambda lent: lent[5:9],
        lambda lent: lent.data[5:9],
        lambda lent: np.frombuffer(lent.data, np.uint16)[3:],
        lambda lent: torch.from_numpy(lent),
        lambda lent: torch.from_numpy(lent).view(torch.bfloat16).reshape(2, -1)[1],
        lambda lent: torch.from_numpy(lent).view(torch.int16).numpy().view(np.uint16)[7:9],
    ],
    ids=["it", "slice", "memoryview", "array", "tensor", "view of tensor", "array of tensor"],
)
def test_not_while_anything_refers_to_it(refer: Any) -> None:
    memory = HostBufferCache(SIZE)
    lent = memory.take(SIZE)
    was, left = address(lent), refer(lent)
    del lent
    gc.collect()
    other = memory.take(SIZE)
    assert address(other) != was
    del left
    gc.collect()
    assert address(memory.take(SIZE)) == was


def test_keeps_no_more_than_its_limit() -> None:
    memory = HostBufferCache(SIZE)
    lent = [memory.take(SIZE) for _ in range(4)]
    del lent
    gc.collect()
    assert len(memory._idle) == 4, "what came back since the last take"
    memory.take(1)
    assert len(memory._idle) <= 2
