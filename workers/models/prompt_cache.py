"""What a pipeline's text encoders made of prompts, kept for the next job with the same ones.

Encoding takes most of the time before a job's first step, and the same prompts come again: the
negative one with every job, a project's own with every seed. The same call gives the same tensors,
so a video is the same to the byte with and without.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from workers.families.base import Pipeline
from workers.patching import replaced

MAX_BYTES = 64 << 20  # of one model's; a long prompt of the largest encoder is 8 MB
_PLAIN = (str, int, float, bool, type(None), torch.device, torch.dtype)


class PromptCache:
    """Of one loaded model, on its device; for one thread at a time."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()  # the last used last
        self._bytes = 0

    @contextmanager
    def used_by(self, pipeline: Pipeline, loras: Hashable = ()) -> Iterator[None]:
        """Answer ``pipeline.encode_prompt`` from here within the block, where it was asked the
        same before. ``loras``: those that are active, whose layers may be the encoder's too."""
        encode = getattr(pipeline, "encode_prompt", None)
        if encode is None:
            yield
            return

        def cached(*args: Any, **kwargs: Any) -> Any:
            asked = _hashable([loras, list(args), sorted(kwargs.items())])
            if asked is None:
                return encode(*args, **kwargs)
            if asked not in self._kept:
                made = encode(*args, **kwargs)
                self._keep(asked, made)
                return made
            self._kept.move_to_end(asked)
            return _copy(self._kept[asked])

        with replaced(pipeline, "encode_prompt", cached):
            yield

    def _keep(self, asked: Hashable, made: Any) -> None:
        if not _is_tensors(made):
            return
        size = _size(made)
        if size > self._max_bytes:
            return
        self._kept[asked] = _copy(made)  # the pipeline may write into what it got
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _hashable(value: Any) -> Hashable | None:
    """``value`` as a key; None where it holds more than plain values, a tensor for one."""
    if isinstance(value, list | tuple):
        parts = [_hashable(each) for each in value]
        return None if None in parts else (type(value).__name__, *parts)
    # 1, 1.0 and True are equal, and mean different things
    return (type(value).__name__, value) if isinstance(value, _PLAIN) else None


def _is_tensors(made: Any) -> bool:
    """Whether it is tensors and nothing else, in whatever tuples."""
    if isinstance(made, list | tuple):
        return all(_is_tensors(each) for each in made)
    return made is None or isinstance(made, Tensor)


def _copy(made: Any) -> Any:
    if isinstance(made, list | tuple):
        return type(made)(_copy(each) for each in made)
    return None if made is None else made.clone()


def _size(made: Any) -> int:
    if isinstance(made, list | tuple):
        return sum(_size(each) for each in made)
    return 0 if made is None else made.nbytes
