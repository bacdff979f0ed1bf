"""What a transformer is called with, as form latents keeps it."""

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from schemas.artifacts import INPUTS
from workers.attention.maps import Address
from workers.attention.run import Run
from workers.families.base import Family


def keep_inputs(family: Family, run: Run, module: nn.Module, inputs: dict[str, Any]) -> None:
    """Give the last row's inputs of this call to the run's sink.

    ``input`` changes every step and is the same in both branches; the conditions (text, masks,
    embedded guidance) are kept once, at step 0, for each branch.
    """
    capture = run.capture
    if capture is None or capture.plan.form != "latents" or run.step not in capture.plan.steps:
        return
    for b, branch in enumerate(run.here):
        for name, key, per_step in stored_names(family, module):
            value = inputs.get(name)
            if not isinstance(value, Tensor) or (per_step and branch != "cond"):
                continue
            if per_step or run.step == 0:
                size = len(value) // run.batch
                end = (b + 1) * len(run.transfers) * size
                capture.sink.put(Address(run.step, branch, INPUTS), key, value[end - size : end])


def stored_names(family: Family, module: nn.Module) -> Iterator[tuple[str, str, bool]]:
    """(argument, its name in the artifact, whether it changes with the steps)."""
    names = [name for name in inspect.signature(type(module).forward).parameters if name != "self"]
    for place, name in enumerate(names):
        if name in family.step_inputs:
            index = family.step_inputs.index(name)
            yield name, "input" if index == 0 else f"input_{'abcdef'[index]}", True
        elif name not in family.own_inputs:
            yield name, f"condition_{chr(ord('a') + place)}", False
