"""What a transformer is called with and what it gives, as artifacts keep it.

Form latents keeps the inputs; every form may keep the outputs, for anchored edits.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from schemas.capture_plan import INPUTS, OUTPUTS
from workers.attention.maps import Address
from workers.attention.run import Run
from workers.families.base import Family


def batch_of(family: Family, inputs: dict[str, Any]) -> int | None:
    """How many videos and branches a transformer is called with; None: its latents do not say."""
    latents = inputs.get(family.step_inputs[0])
    return len(latents) if isinstance(latents, Tensor) else None


def keep_inputs(family: Family, run: Run, module: nn.Module, inputs: dict[str, Any]) -> None:
    """Give the last row's inputs of this call to the run's sink.

    ``input`` changes every step and is the same in both branches; the conditions (text, masks,
    embedded guidance) are kept once, at step 0, for each branch.
    """
    capture = run.capture
    if capture is None or capture.plan.form != "latents":
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


def keep_outputs(run: Run, outputs: Any) -> None:
    """Give the last row's outputs of this call to the run's sink: (1, …) for each branch."""
    capture = run.capture
    if capture is None or not capture.plan.outputs:
        return
    if run.extra_call is not None:
        for name, tensor in zip(extra_names(run.extra_call), tensors_of(outputs), strict=False):
            capture.sink.put(Address(run.step, "cond", INPUTS), name, tensor[-1:])
        return
    for b, branch in enumerate(run.here):
        for name, tensor in zip(OUTPUTS, tensors_of(outputs), strict=False):
            size = len(tensor) // run.batch
            end = (b + 1) * len(run.transfers) * size
            capture.sink.put(Address(run.step, branch, INPUTS), name, tensor[end - size : end])


def tensors_of(outputs: Any) -> tuple[Tensor, ...]:
    """The tensors that a transformer returned, as a tuple or in an object of diffusers'."""
    found = outputs if isinstance(outputs, tuple) else outputs.to_tuple()
    return tuple(each for each in found if isinstance(each, Tensor))


def extra_names(call: int) -> tuple[str, ...]:
    """Of the outputs of a step's further calls, for other kinds of guidance."""
    return tuple(f"extra_{'abcdef'[call]}_{name}" for name in OUTPUTS)
