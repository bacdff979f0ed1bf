"""An edit whose source is not stored: the source is run again, beside the edit or before it."""

import logging
from contextlib import ExitStack
from itertools import pairwise

import torch

from schemas.artifacts import CapturePlan
from schemas.attention import Form
from schemas.recipes import Generation
from schemas.selection import ResolvedRecipe
from workers.attention.maps import MemoryMaps
from workers.attention.recomputed_source import RecomputedSource
from workers.attention.transfer import Capture, Transfer
from workers.families.base import Frames
from workers.generation.denoise import OnStep, StepInfo, denoise
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.generate")


def replay(
    model: LoadedModel, resolved: ResolvedRecipe, capture: Capture | None, on_step: OnStep | None
) -> Frames:
    """The chain's sources and the edit: in one batch where that can be, else one by one.

    Raises what ``generate`` does.
    """
    chain = resolved.chain()[::-1]  # the first source first
    if _fit_one_batch(model, chain):
        transfers = tuple(Transfer(each.transfer) if each.transfer else None for each in chain)
        recipes = [each.recipe for each in chain]
        try:
            return denoise(model, recipes, transfers, capture, on_step)
        except torch.OutOfMemoryError:
            if capture is not None or model.group is not None:
                raise  # a sink that already holds a part of this run; other ranks that go on
            log.warning("a batch of %d does not fit: its rows run in turn", len(chain))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return _one_after_the_other(model, chain, capture, on_step)


def _fit_one_batch(model: LoadedModel, chain: list[ResolvedRecipe]) -> bool:
    """One batch shares one guidance scale, and a branch only sees those of its own call."""
    if len(chain) > min(model.settings.replay_rows, model.family.max_batch):
        return False
    same = len({each.recipe.generation.guidance_scale for each in chain}) == 1
    crosses = any(each.transfer and each.transfer.source_branch == "cond" for each in chain)
    return same and (model.family.batched or not crosses)


def _one_after_the_other(
    model: LoadedModel,
    chain: list[ResolvedRecipe],
    capture: Capture | None,
    on_step: OnStep | None,
) -> Frames:
    """Each in turn, keeping its latents in memory; the next recomputes its layers from them."""
    transfer: Transfer | None = None
    with ExitStack() as sources:
        for each, edit in pairwise(chain):
            assert edit.transfer is not None
            latents = MemoryMaps()
            keep = Capture(_latents_plan(model, each.recipe.generation), latents)
            denoise(model, [each.recipe], (transfer,), keep, _as_step_0(on_step))
            form: Form = "hidden" if each.transfer is None else "qk"
            source = RecomputedSource(
                model.hooks,
                latents,
                layers=frozenset(edit.transfer.layers),
                branches=model.family.branches(each.recipe.generation.guidance_scale),
                transfer=transfer,
                form=form,
            )
            transfer = Transfer(edit.transfer, form, sources.enter_context(source))
        return denoise(model, [chain[-1].recipe], (transfer,), capture, on_step)


def _latents_plan(model: LoadedModel, generation: Generation) -> CapturePlan:
    return CapturePlan(
        form="latents",
        codec="raw",
        layers=(),
        steps=tuple(range(generation.num_inference_steps)),
        branches=model.card.branches,
    )


def _as_step_0(on_step: OnStep | None) -> OnStep | None:
    """The source's steps count as step 0 of the edit: they must stay cancellable."""
    if on_step is None:
        return None
    return lambda info: on_step(StepInfo(0, info.total, info.latents, own=False))
