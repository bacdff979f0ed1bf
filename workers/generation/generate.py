"""One recipe, run on the stock pipeline: plain, with stored attention, or beside its source."""

import logging
from contextlib import ExitStack

import torch

from schemas.attention import Form, TransferSpec
from schemas.errors import InvalidRequest, Unsupported
from schemas.recipes import Recipe, check_same_shot
from schemas.selection import ResolvedTransfer, check_branches, forms_of, resolve_transfer
from workers.attention.edit import transfer_from as transfer_out_of
from workers.attention.maps import MapSource, MemoryMaps
from workers.attention.recomputed_source import RecomputedSource
from workers.attention.run import Capture, Transfer
from workers.families.base import Frames
from workers.generation.denoise import OnStep, StepInfo, denoise
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.generate")
__all__ = ["OnStep", "StepInfo", "check_fits", "generate"]


def generate(
    model: LoadedModel,
    recipe: Recipe,
    *,
    transfer_from: MapSource | None = None,
    form: Form = "hidden",
    hidden_layers: frozenset[int] = frozenset(),
    capture: Capture | None = None,
    on_step: OnStep | None = None,
) -> Frames:
    """The video of ``recipe``: (F, H, W, 3) uint8.

    ``transfer_from``: the attention of ``recipe.source``, in ``form``; without it the source is
    replayed. ``hidden_layers``: of form latents, those that need no rerun. ``on_step`` may raise
    (JobCancelled) to stop: nothing of the run is left behind.
    Raises SourceMismatch, Unsupported, InvalidRequest, ArtifactMissing, ArtifactCorrupt.
    """
    check_fits(model, recipe, capture)
    if recipe.source is None:
        return denoise(model, [recipe], (None,), capture, on_step)
    resolved = _resolve(model, recipe)
    if transfer_from is None:
        return _replay(model, recipe, capture, on_step)
    if form != "latents":
        transfer = transfer_out_of(transfer_from, form, resolved)
        return denoise(model, [recipe], (transfer,), capture, on_step)
    with RecomputedSource(
        model.hooks,
        transfer_from,
        layers=frozenset(resolved.layers) - hidden_layers,
        hidden_layers=hidden_layers,
        branches=model.family.branches(recipe.source.generation.guidance_scale),
    ) as rerun:
        transfer = transfer_out_of(rerun, form, resolved)
        return denoise(model, [recipe], (transfer,), capture, on_step)


def check_fits(model: LoadedModel, recipe: Recipe, capture: Capture | None) -> None:
    """Refuse what would give a wrong video: another model, another shot, a form too poor."""
    for each in recipe.chain():
        if each.generation.fingerprint != model.card.fingerprint:
            raise Unsupported(
                f"model: {each.generation.model!r} is not loaded here in the version that the "
                "recipe names",
                param="model",
            )
        for name, _ in each.generation.loras:
            if name not in model.settings.loras:
                known = ", ".join(sorted(model.settings.loras)) or "none"
                raise InvalidRequest(
                    f"loras: {name!r} is not known; known is {known}", param="loras"
                )
        if each.source is not None:
            check_same_shot(each.generation, each.source.generation)
            check_branches(_resolve(model, each), model.card, each.source.generation)
    if capture is None:
        return
    in_parts = model.settings.compile != "none" or model.settings.ranks > 1
    if capture.form == "dense" and in_parts:
        raise Unsupported(
            "capture.form: 'dense' is not offered for compiled models, nor for those spread over "
            "several ranks; use qk",
            param="capture.form",
        )
    if not model.card.supports_transfer:
        raise Unsupported(
            f"capture: model {model.card.id!r} has no softmax attention map", param="capture"
        )
    if capture.form not in forms_of(model.card, recipe):
        raise Unsupported(
            f"capture.form: {capture.form!r} cannot hold the attention of this run; allowed is "
            f"{', '.join(forms_of(model.card, recipe))}",
            param="capture.form",
        )


def _replay(
    model: LoadedModel, recipe: Recipe, capture: Capture | None, on_step: OnStep | None
) -> Frames:
    """The source beside its edit: in one batch where that can be, else one after the other."""
    chain = recipe.chain()[::-1]  # the first source first
    transfers: list[ResolvedTransfer | None] = [None]
    transfers += [_resolve(model, each) for each in chain[1:]]
    if len(chain) <= min(model.settings.replay_rows, model.family.max_batch) and _fit_one_batch(
        model, chain, transfers
    ):
        rows = tuple(transfer_out_of(None, "hidden", t) if t else None for t in transfers)
        try:
            return denoise(model, chain, rows, capture, on_step)
        except torch.OutOfMemoryError:
            if capture is not None or model.group is not None:
                raise  # a sink that already holds a part of this run; other ranks that go on
            log.warning("a batch of %d does not fit: its rows run in turn", len(chain))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return _one_after_the_other(model, chain, transfers, capture, on_step)


def _fit_one_batch(
    model: LoadedModel, chain: list[Recipe], transfers: list[ResolvedTransfer | None]
) -> bool:
    """One batch shares one guidance scale, and a branch only sees those of its own call."""
    same = len({each.generation.guidance_scale for each in chain}) == 1
    crosses = any(t is not None and t.source_branch == "cond" for t in transfers)
    return same and (model.family.batched or not crosses)


def _one_after_the_other(
    model: LoadedModel,
    chain: list[Recipe],
    transfers: list[ResolvedTransfer | None],
    capture: Capture | None,
    on_step: OnStep | None,
) -> Frames:
    """Each in turn, keeping its latents in memory; the next reruns its layers from them."""
    source: Transfer | None = None
    with ExitStack() as reruns:
        for each, following in zip(chain[:-1], transfers[1:], strict=True):
            assert following is not None
            latents = MemoryMaps()
            steps = frozenset(range(each.generation.num_inference_steps))
            keep = Capture("latents", frozenset(), steps, frozenset(model.card.branches), latents)
            denoise(model, [each], (source,), keep, _as_step_0(on_step))
            form: Form = "hidden" if each.source is None else "qk"
            rerun = RecomputedSource(
                model.hooks,
                latents,
                layers=frozenset(following.layers),
                branches=model.family.branches(each.generation.guidance_scale),
                transfer=source,
                form=form,
            )
            source = transfer_out_of(reruns.enter_context(rerun), form, following)
        return denoise(model, [chain[-1]], (source,), capture, on_step)


def _as_step_0(on_step: OnStep | None) -> OnStep | None:
    """The source's steps count as step 0 of the edit: they must stay cancellable."""
    if on_step is None:
        return None
    return lambda info: on_step(StepInfo(0, info.total, info.latents, own=False))


def _resolve(model: LoadedModel, recipe: Recipe) -> ResolvedTransfer:
    return resolve_transfer(recipe.transfer or TransferSpec(), model.card, recipe.generation)
