"""An edit whose source is not stored: the sources are run again, each before what is made of it.

An anchored edit runs beside its source, step by step, and costs a tenth of a generation more; an
edit the paper's way can share its source's batch. Otherwise what the next run needs of a source
stays in this process's memory.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import torch

from schemas.attention import Form
from schemas.capture_plan import CapturePlan
from schemas.recipes import Recipe
from schemas.resolve_capture import last_layers
from schemas.selection import ResolvedRecipe, ResolvedTransfer
from workers.attention.maps import MemoryMaps
from workers.attention.recomputed_source import RecomputedSource
from workers.attention.stored_source import transfer_from
from workers.attention.transfer import Capture, StoredAttention, Transfer
from workers.families.pixels import Frames
from workers.generation.beside import generate_beside
from workers.generation.denoise import Generated, OnStep, StepInfo, denoise, denoise_only
from workers.generation.find_region import find_region
from workers.generation.mask import put_into
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.generate")
FilmLatents = Callable[[Recipe], torch.Tensor]  # of an uploaded film: (1, …), as the pipeline has
FilmFrames = Callable[[Recipe], Frames]  # and as it was read


def replay(
    model: LoadedModel,
    resolved: ResolvedRecipe,
    capture: Capture | None,
    on_step: OnStep | None,
    film: FilmLatents | None = None,
    film_frames: FilmFrames | None = None,
) -> Generated:
    """The chain's sources, then the edit. Raises what ``generate`` does.

    ``film``, ``film_frames``: of the uploaded film that the chain begins with.
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
    if _fit_side_by_side(model, chain):
        return generate_beside(model, chain[0].recipe, chain[1], capture, on_step)
    return _one_after_the_other(model, chain, capture, on_step, film, film_frames)


def _fit_one_batch(model: LoadedModel, chain: list[ResolvedRecipe]) -> bool:
    """One batch shares its guidance scales and one picture, and a branch only sees those of its own
    call."""
    rows = [each.recipe.generation for each in chain]
    if len(rows) > model.settings.replay_rows:
        return False
    if not model.family.share_a_batch(model.pipeline, rows):
        return False
    if any(each.transfer and each.transfer.anchor for each in chain):
        return False  # a run that is followed comes first
    shared = ("guidance_scale", "guidance_scale_2", "picture")
    same = len({tuple(getattr(each.recipe.generation, name) for name in shared) for each in chain})
    crosses = any(each.transfer and each.transfer.source_branch == "cond" for each in chain)
    return same == 1 and (model.family.batched or not crosses)


def _fit_side_by_side(model: LoadedModel, chain: list[ResolvedRecipe]) -> bool:
    """Ranks would need a second thread each, and a step cache would serve both runs."""
    source, edit = chain[0], chain[-1]
    anchored = edit.transfer is not None and edit.transfer.anchor is not None
    plain = source.recipe.film is None and source.recipe.generation.step_cache is None
    whole = edit.recipe.region is None  # else the source's frames are wanted too
    return len(chain) == 2 and anchored and plain and whole and model.group is None


def _one_after_the_other(
    model: LoadedModel,
    chain: list[ResolvedRecipe],
    capture: Capture | None,
    on_step: OnStep | None,
    film: FilmLatents | None,
    film_frames: FilmFrames | None,
) -> Generated:
    latents = None if film is None or chain[0].recipe.film is None else film(chain[0].recipe)
    transfer: Transfer | None = None
    frames: Frames | None = None  # of the source at hand, if they are wanted
    passes = 0.0
    counts = [each.recipe.generation.num_inference_steps for each in chain]
    with ExitStack() as sources:
        for place, (source, edit) in enumerate(pairwise(chain)):
            assert edit.transfer is not None
            kept = MemoryMaps()
            plan = _kept_for(model, source, edit.transfer)
            told = counted(on_step, sum(counts[:place]), sum(counts[place + 1 :]))
            held = Capture(plan, kept)
            if source.recipe.film is not None:
                passes += denoise_only(model, source.recipe, None, held, told, latents)
                frames = film_frames(source.recipe) if film_frames else None
            elif film_frames is not None and edit.recipe.region is not None:
                made = denoise(model, [source.recipe], (transfer,), held, told)
                passes += made.passes
                frames = put_into(model, source.recipe, made.frames, frames)
            else:
                passes += denoise_only(model, source.recipe, transfer, held, told)
                frames = None
            stored = StoredAttention(plan, kept)
            transfer = sources.enter_context(_taken_from(model, stored, source, edit, transfer))
            passes += find_region(model, edit.recipe, transfer)
        told = counted(on_step, sum(counts[:-1]), 0, own=True)
        made = denoise(model, [chain[-1].recipe], (transfer,), capture, told)
        return made._replace(passes=made.passes + passes, source=frames)


def _kept_for(
    model: LoadedModel, source: ResolvedRecipe, transfer: ResolvedTransfer
) -> CapturePlan:
    """What of ``source``'s run the next one needs: the least that can be had of it."""
    generation = source.recipe.generation
    form: Form = "latents"
    if source.transfer is not None and transfer.anchor is not None:
        form = "hidden" if source.transfer.whole else "qk"  # its latents alone do not tell them
    plan = CapturePlan(
        form=form,
        codec="raw",
        layers=transfer.needed_layers,
        steps=transfer.computed_steps if transfer.of_film else transfer.needed_steps,
        branches=transfer.needed_branches,
        outputs=transfer.anchor is not None,
    )
    if form != "latents" or transfer.anchor is None:
        return plan
    hidden = last_layers(plan, model.settings.replay_bytes, model.card, generation)
    return plan.model_copy(update={"hidden_layers": hidden})


@contextmanager
def _taken_from(
    model: LoadedModel,
    stored: StoredAttention,
    source: ResolvedRecipe,
    edit: ResolvedRecipe,
    transfer: Transfer | None,
) -> Iterator[Transfer]:
    """What ``edit`` takes of its source, which was itself run with ``transfer``."""
    if transfer is None or stored.plan.form != "latents":
        with transfer_from(stored, model.hooks, edit) as taken:
            yield taken
        return
    assert edit.transfer is not None
    with RecomputedSource(
        model.hooks,
        stored.source,
        layers=frozenset(edit.transfer.layers),
        branches=model.family.branches(source.recipe.generation.guidance_scale),
        transfer=transfer,
        form="qk",
    ) as recomputed:
        yield Transfer(edit.transfer, "qk", recomputed)


def counted(
    on_step: OnStep | None, before: int, behind: int, *, own: bool = False
) -> OnStep | None:
    """``on_step``, told where this run stands among those of the job."""
    if on_step is None:
        return None

    def tell(info: StepInfo) -> None:
        on_step(info._replace(own=own, steps_before=before, steps_behind=behind))

    return tell
