"""The noise that a scheduler draws at a step, out of the run's own generators.

Most pipelines call ``scheduler.step`` without one, and torch's global generator would decide: the
same seed would give another video each time. With one generator for each row a row's noise is the
same whatever else is in its batch.
"""

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch

from workers.patching import replaced


@contextmanager
def seeded_noise(scheduler: Any, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Within the block ``scheduler.step`` draws from ``generators``, one for each row.

    One that takes no generator is left alone: ``workers.models.dry_run`` refuses those that draw.
    """
    if "generator" not in inspect.signature(type(scheduler).step).parameters:
        yield
        return

    @functools.wraps(type(scheduler).step)  # pipelines ask its signature what it takes
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("generator") is None:
            kwargs["generator"] = list(generators)
        return type(self).step(self, *args, **kwargs)

    # a method, bound again where a pipeline copies its scheduler (LTX-2, for the sound)
    with replaced(scheduler, "step", MethodType(step, scheduler)):
        yield
