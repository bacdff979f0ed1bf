"""One run of a recipe, and the measures of every layer, head, step and branch asked for.

They are taken while the video is made, from the queries and keys that its attention uses; behind
the last step that is wanted the run ends. A film that was uploaded is followed, and computed at
those steps alone. From stored attention (forms hidden and qk) only as many
steps are run as are asked for, each with a stored step's tensors put in.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from schemas.attention import TransferSpec
from schemas.capture_plan import CapturePlan
from schemas.errors import Unsupported
from schemas.maps import STORED_FORMS
from schemas.recipes import Recipe
from schemas.selection import resolve_recipe
from workers.analysis.attention_calls import AttentionCalls, check_seen
from workers.analysis.collector import Collected, Collector, CollectPlan, StoredValues
from workers.attention.maps import Address, MapSource
from workers.attention.transfer import Capture, StoredAttention
from workers.generation.denoise import OnStep, StepInfo, denoise_only
from workers.generation.generate import check_fits, generate
from workers.models.pipelines import LoadedModel

OnProgress = Callable[[int, int], None]
FilmOf = Callable[[LoadedModel, Recipe], Tensor]  # of an uploaded film: latents (1, …)


class Done(Exception):
    """Raised behind the last step that is wanted: the rest of the video is not."""


class NothingKept:
    """A MapSink: what a run along a film computes is measured, not kept."""

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        """Nothing."""


class AtSteps:
    """``source``'s tensors of ``steps[n]`` for the n-th step of the run."""

    def __init__(self, source: MapSource, steps: tuple[int, ...]) -> None:
        self._source, self._steps = source, steps

    def get(self, address: Address, name: str) -> Tensor:
        return self._source.get(address._replace(step=self._steps[address.step]), name)


def collect(
    model: LoadedModel,
    recipe: Recipe,
    plan: CollectPlan,
    *,
    stored: StoredAttention | None = None,
    film: FilmOf | None = None,
    on_progress: OnProgress | None = None,
) -> Collected:
    """Run ``recipe`` as far as ``plan`` needs and measure it.

    ``stored``: its attention, where there is some, which is read where ``reads_stored`` says so.
    ``film``: gives the latents of an uploaded film, if the recipe is of one.
    ``on_progress(done, total)`` hears of each step, and may raise
    (JobCancelled) to stop. Raises Unsupported, InvalidRequest, ArtifactMissing, ArtifactCorrupt,
    and what ``film`` does.
    """
    check_seen(model)
    if stored is not None and reads_stored(model, stored.plan, plan):
        return _from_stored(model, recipe, plan, stored, on_progress)
    anchor = recipe.transfer.anchor if recipe.transfer is not None else None
    if anchor is not None and anchor.region is not None:
        raise Unsupported(
            "sources: an edit with a region has the attention of some tokens alone; name its "
            "source, or capture the edit",
            param="sources",
        )
    collector = Collector(model, recipe, plan)

    def run(on_step: OnStep) -> None:
        if recipe.film is not None:
            _follow(model, recipe, plan, film, on_step)
            return
        latents = None if film is None else partial(film, model)
        generate(model, resolve_recipe(recipe, model.card), on_step=on_step, film=latents)

    _run(model, collector, run, max(plan.steps), on_progress)
    return collector.collected


def reads_stored(model: LoadedModel, kept: CapturePlan, plan: CollectPlan) -> bool:
    """Whether stored attention spares a run. ``kept``: what is stored.

    Of two experts only a step's own has the layer, and the last steps come last. Text that shares
    the attention is not stored, and would be that of another step.
    """
    joint = any(
        attn.layout != "video" or getattr(attn.module, "add_q_proj", None) is not None
        for attn in model.hooks.attention_modules
    )
    one = len(model.hooks.transformers) == 1 and not joint
    return one and kept.form in STORED_FORMS and kept.covers(plan.needed)


def steps_to_run(plan: CollectPlan, *, stored: bool) -> int:
    """How many steps ``collect`` runs."""
    return len(plan.steps) if stored else max(plan.steps) + 1


def _from_stored(
    model: LoadedModel,
    recipe: Recipe,
    plan: CollectPlan,
    stored: StoredAttention,
    on_progress: OnProgress | None,
) -> Collected:
    """An edit whose n-th step has the queries and keys of the n-th that is wanted."""
    at_steps = AtSteps(stored.source, plan.steps)
    last = len(plan.steps) - 1
    transfer = TransferSpec(
        layers=plan.layers, steps=tuple(range(last + 1)), branches=plan.branches
    )
    # whatever made the source, an edit itself maybe: only its tensors are used
    source = Recipe(generation=recipe.generation)
    edit = Recipe(generation=recipe.generation, source=source, transfer=transfer)
    collector = Collector(model, recipe, plan, StoredValues(at_steps, stored.plan.form))
    put_in, resolved = StoredAttention(stored.plan, at_steps), resolve_recipe(edit, model.card)

    def run(on_step: OnStep) -> None:
        generate(model, resolved, stored=put_in, on_step=on_step)

    _run(model, collector, run, last, on_progress)
    return collector.collected


def _follow(
    model: LoadedModel, recipe: Recipe, plan: CollectPlan, film: FilmOf | None, on_step: OnStep
) -> None:
    """Run along the film of ``recipe``, cond computed at the steps that ``plan`` names."""
    resolved = resolve_recipe(recipe, model.card)
    check_fits(model, resolved, None)
    if film is None:
        raise Unsupported("an uploaded video cannot be made again: no model made it")
    kept = CapturePlan(
        form="latents", codec="raw", layers=plan.layers, steps=plan.steps, branches=("cond",)
    )
    latents = film(model, recipe)
    denoise_only(model, recipe, None, Capture(kept, NothingKept()), on_step, latents)


def _run(
    model: LoadedModel,
    collector: Collector,
    run: Callable[[OnStep], None],
    last: int,
    on_progress: OnProgress | None,
) -> None:
    """``run`` up to step ``last``, its attention seen by ``collector``."""
    done = 0

    def after_step(info: StepInfo) -> None:
        nonlocal done
        if info.own:
            done = min(info.step, last) + 1
        if on_progress is not None:
            on_progress(done, last + 1)  # a source's steps count as none, and can be stopped
        if not info.own:
            return
        collector.check_step(info.step)
        if info.step >= last:
            raise Done

    try:
        with AttentionCalls(model, collector.handle):
            run(after_step)
    except Done:
        pass
