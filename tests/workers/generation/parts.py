"""What a rank of a test's group runs; rank 0 tells of it."""

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.attention import CaptureSpec, Form, TransferSpec
from schemas.errors import ArtifactCorrupt, JobCancelled
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from tests import tiny
from tests.workers.bench import plan_of
from workers.attention.maps import Address, MapSource, MemoryMaps
from workers.generation.context_parallel import RankTask, generate_context_parallel
from workers.generation.denoise import StepInfo
from workers.models.model_cache import ModelCache
from workers.models.pipelines import LoadedModel
from workers.settings import WorkerSettings

Captured = dict[tuple[Address, str], Tensor]
_source = MemoryMaps()  # rank 0's, between the parts


def edit_of(source: Recipe, prompt: str, **transfer: Any) -> Recipe:
    generation = source.generation.model_copy(update={"prompt": prompt})
    return Recipe(generation=generation, source=source, transfer=TransferSpec(**transfer))


def task_of(model: LoadedModel, recipe: Recipe, **held: Any) -> RankTask:
    return RankTask("tiny", resolve_recipe(recipe, model.card), **held)


def is_lead(model: LoadedModel) -> bool:
    assert model.group is not None
    return model.group.rank == 0


def run(
    model: LoadedModel,
    task: RankTask,
    source: MapSource | None = None,
    sink: MemoryMaps | None = None,
    stop_after: int | None = None,
) -> Tensor:
    """(steps, C, F, H, W): the last row's latents after every step, of rank 0's ``on_step``."""
    latents: list[Tensor] = []

    def keep(info: StepInfo) -> None:
        if not info.own:
            return  # of a source that runs before its edit
        latents.append(info.latents[-1].clone())
        if info.step == stop_after:
            raise JobCancelled("stopped")

    on_step = keep if is_lead(model) else None
    generate_context_parallel(model, task, source=source, sink=sink, on_step=on_step)
    return torch.stack(latents) if latents else torch.empty(0)


def capture(model: LoadedModel, form: Form, changes: dict[str, Any]) -> tuple[Tensor, Captured]:
    """The run's latents, and its attention as rank 0 was given it."""
    recipe = tiny.recipe(model, **changes)
    plan = resolve_capture(CaptureSpec(scope="everything", form=form), model.card, recipe)
    _source.tensors.clear()
    sink = _source if is_lead(model) else None
    latents = run(model, task_of(model, recipe, capture=plan), sink=sink)
    return latents, dict(_source.tensors)


def edit(
    model: LoadedModel, prompt: str, form: Form | None, changes: dict[str, Any], transfer: Any
) -> Tensor:
    """An edit of what ``capture`` made and kept; ``form`` None replays it."""
    recipe = edit_of(tiny.recipe(model, **changes), prompt, **transfer)
    source = _source if is_lead(model) and form is not None else None
    return run(model, task_of(model, recipe, stored=plan_of(form) if form else None), source)


def cancelled(model: LoadedModel, after: int) -> Tensor:
    return run(model, task_of(model, tiny.recipe(model)), stop_after=after)


class Damaged:
    def get(self, address: Address, name: str) -> Tensor:
        raise ArtifactCorrupt("damaged")


class Short:
    """One token too few: the last rank's share alone is not what it should be."""

    def get(self, address: Address, name: str) -> Tensor:
        return _source.get(address, name)[:, :-1]


def edit_from(model: LoadedModel, source: type[MapSource]) -> Tensor:
    recipe = edit_of(tiny.recipe(model), "a dog")
    return run(
        model,
        task_of(model, recipe, stored=plan_of("hidden")),
        source() if is_lead(model) else None,
    )


def broken(model: LoadedModel) -> str | None:
    """Rank 1 fails in its second layer, where rank 0 hears nothing of it; what that one finds."""
    group = model.group
    assert group is not None

    def fail(*_: object) -> None:
        group.leave_failure_reason("why")
        os._exit(1)

    if group.rank == 1:
        (_, second, *_) = model.hooks.transformers[0].get_submodule("blocks").children()
        second.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError):
        run(model, task_of(model, tiny.recipe(model)))
    return group.failure_reason()


def served(model: LoadedModel, settings: WorkerSettings) -> list[str]:
    return [card.id for card in ModelCache(settings, model.group).cards()]


def own_shares(model: LoadedModel, tokens: int) -> tuple[list[slice], list[int]]:
    """The group's shares of so many tokens, and torch's."""
    assert model.group is not None
    parts = torch.arange(tokens).tensor_split(model.group.size)
    return model.group.shares(tokens), [len(part) for part in parts]
