"""Anchored edits against the method written out, over the bare transformer and scheduler."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from schemas.attention import Anchor
from schemas.recipes import Recipe
from tests.workers.families.cases import CASES, Runs
from workers.attention.maps import Address, MemoryMaps
from workers.models.pipelines import LoadedModel

STEPS, INTERVAL, SCALE = 5, 2, 1.5
# two calls a step, one batch, embedded guidance (one branch), two experts
FAMILIES = ("wan", "ltx", "hunyuan-video", "wan-a14b")


class Call(NamedTuple):
    """One call of a transformer: what it was given, and gave."""

    transformer: Any
    inputs: dict[str, Any]
    output: Tensor


@pytest.fixture(params=FAMILIES)
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Runs:
    case = next(case for case in CASES if case.name == request.param)
    return Runs(case.load(tmp_path), case=case)


def test_it_is_the_method_written_out(runs: Runs) -> None:
    source = runs.recipe("a car", num_inference_steps=STEPS)
    edit = runs.edit(source, "some dog", anchor=Anchor(interval=INTERVAL, scale=SCALE))
    with recorded(runs.model) as calls:
        maps, followed = runs.captured(source, "hidden")
    with recorded(runs.model) as others:
        runs.latents_of(runs.recipe("some dog", num_inference_steps=STEPS))
    expected = written_out(runs.model, source, calls, others, maps)
    made = runs.latents_of(edit, transfer_from=maps)
    effect = (expected - followed).square().mean().sqrt()
    assert effect > 1e-3
    assert (made - expected).square().mean().sqrt() < 1e-4 * effect


def written_out(
    model: LoadedModel, source: Recipe, calls: list[Call], others: list[Call], maps: MemoryMaps
) -> Tensor:
    """(steps, …): the edit's latents after each step.

    ``calls``: of the source's run; ``others``: of a run with the edit's prompt, for its text.
    """
    scheduler = calls[0].inputs["scheduler"]
    guidance = source.generation.guidance_scale
    per_step = len(calls) // STEPS
    latents = cond_part(model, calls[0], calls[0].inputs["hidden_states"])
    seen: list[Tensor] = []
    for step, t in enumerate(scheduler.timesteps):
        here = calls[step * per_step : (step + 1) * per_step]
        cond, uncond = outputs_of(model, here)
        if step % INTERVAL == 0:
            text = others[step * per_step]
            with source_maps(model, maps, step):
                difference = call_cond(model, text, latents) - cond
        guided = cond if uncond is None else uncond + guidance * (cond - uncond)
        velocity = guided + SCALE * difference
        latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
        seen.append(latents[-1].clone())
    return torch.stack(seen)


def outputs_of(model: LoadedModel, calls: list[Call]) -> tuple[Tensor, Tensor | None]:
    """(cond, uncond) of a step's calls."""
    if len(model.card.branches) == 1:
        return calls[0].output, None
    if model.family.batched:
        uncond, cond = calls[0].output.chunk(2)
        return cond, uncond
    return calls[0].output, calls[1].output


def cond_part(model: LoadedModel, call: Call, value: Any) -> Any:
    """The cond half of what was given for a batch [uncond, cond]."""
    batch = len(call.inputs["hidden_states"])
    if model.family.batched and isinstance(value, Tensor) and len(value) == batch:
        return value.chunk(2)[1]
    return value


def call_cond(model: LoadedModel, text: Call, latents: Tensor) -> Tensor:
    inputs = {name: cond_part(model, text, value) for name, value in text.inputs.items()}
    del inputs["scheduler"]
    inputs["hidden_states"] = latents.to(inputs["hidden_states"].dtype)
    inputs["return_dict"] = False
    with torch.no_grad():
        output: Tensor = type(text.transformer).forward(text.transformer, **inputs)[0]
    return output


@contextmanager
def recorded(model: LoadedModel) -> Iterator[list[Call]]:
    """The calls of all transformers within the block, with the scheduler as it was before them."""
    calls: list[Call] = []

    def note(signature: inspect.Signature, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        inputs = dict(signature.bind(module, *args, **kwargs).arguments)
        del inputs["self"]
        if not calls:
            inputs["scheduler"] = copy.deepcopy(model.pipeline.scheduler)
        else:
            inputs["scheduler"] = None
        output = out[0] if isinstance(out, tuple) else out.sample
        inputs["hidden_states"] = inputs["hidden_states"].clone()
        calls.append(Call(module, inputs, output.clone()))

    with ExitStack() as hooks:
        for transformer in model.hooks.transformers:
            signature = inspect.signature(type(transformer).forward)
            handle = transformer.register_forward_hook(partial(note, signature), with_kwargs=True)
            hooks.callback(handle.remove)
        yield calls


@contextmanager
def source_maps(model: LoadedModel, maps: MemoryMaps, step: int) -> Iterator[None]:
    """Give every layer's query and key projections the source's cond hidden states."""

    def swap(attn: Any, _: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        hidden = args[0].clone()
        stored = maps.get(Address(step, "cond", attn.layer), "hidden")
        hidden[:, attn.token_slice(stored.shape[1], hidden.shape[1])] = stored
        return (hidden,)

    with ExitStack() as hooks:
        for attn in model.hooks.attention_modules:
            for linear in (attn.to_q, attn.to_k):
                assert linear is not None
                handle = linear.register_forward_pre_hook(partial(swap, attn))
                hooks.callback(handle.remove)
        yield
