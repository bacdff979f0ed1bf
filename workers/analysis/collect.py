"""One run of a recipe, and the measures of every layer, head, step and branch asked for.

They are taken while the video is made, from the queries and keys that its attention uses; behind
the last step that is wanted the run ends. From stored attention (forms hidden and qk) only as many
steps are run as are asked for, each with a stored step's tensors put in.
"""

from collections.abc import Callable

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
from workers.attention.transfer import StoredAttention
from workers.generation.denoise import StepInfo
from workers.generation.generate import generate
from workers.models.pipelines import LoadedModel

OnProgress = Callable[[int, int], None]


class Done(Exception):
    """Raised behind the last step that is wanted: the rest of the video is not."""


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
    on_progress: OnProgress | None = None,
) -> Collected:
    """Run ``recipe`` as far as ``plan`` needs and measure it.

    ``stored``: its attention, where there is some, which is read where ``reads_stored`` says so.
    ``on_progress(done, total)`` hears of each step, and may raise
    (JobCancelled) to stop. Raises Unsupported, InvalidRequest, ArtifactMissing, ArtifactCorrupt.
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
    _run(model, recipe, collector, max(plan.steps), on_progress)
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
    _run(model, edit, collector, last, on_progress, StoredAttention(stored.plan, at_steps))
    return collector.collected


def _run(
    model: LoadedModel,
    recipe: Recipe,
    collector: Collector,
    last: int,
    on_progress: OnProgress | None,
    stored: StoredAttention | None = None,
) -> None:
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
            generate(model, resolve_recipe(recipe, model.card), stored=stored, on_step=after_step)
    except Done:
        pass
