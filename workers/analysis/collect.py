"""One run of a recipe, and the measures of every layer, head, step and branch asked for.

They are taken while the video is made, from the queries and keys that its attention uses; behind
the last step that is wanted the run ends. From stored attention (forms hidden and qk) only as many
steps are run as are asked for, each with a stored step's tensors put in.
"""

from collections.abc import Callable

from torch import Tensor

from schemas.attention import Form, TransferSpec
from schemas.maps import STORED_FORMS
from schemas.recipes import Recipe
from workers.analysis.attention_calls import AttentionCalls, check_seen
from workers.analysis.collector import Collected, Collector, CollectPlan, StoredValues
from workers.attention.maps import Address, MapSource
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
    stored: MapSource | None = None,
    form: Form = "hidden",
    on_progress: OnProgress | None = None,
) -> Collected:
    """Run ``recipe`` as far as ``plan`` needs and measure it.

    ``stored``: its attention, in ``form``, where there is some; it is left alone where
    ``reads_stored`` says so. ``on_progress(done, total)`` hears of each step, and may raise
    (JobCancelled) to stop. Raises Unsupported, InvalidRequest, ArtifactMissing, ArtifactCorrupt.
    """
    check_seen(model)
    if stored is not None and reads_stored(model, form):
        return _from_stored(model, recipe, plan, stored, form, on_progress)
    collector = Collector(model, recipe, plan)
    last = max(plan.steps)
    _run(model, recipe, collector, last, on_progress)
    return collector.collected


def reads_stored(model: LoadedModel, form: Form) -> bool:
    """Whether stored attention of ``form`` spares a run.

    Of two experts only a step's own has the layer, and the last steps come last. Text that shares
    the attention is not stored, and would be that of another step.
    """
    joint = any(
        attn.layout != "video" or getattr(attn.module, "add_q_proj", None) is not None
        for attn in model.hooks.attention_modules
    )
    return form in STORED_FORMS and len(model.hooks.transformers) == 1 and not joint


def steps_to_run(plan: CollectPlan, *, stored: bool) -> int:
    """How many steps ``collect`` runs."""
    return len(plan.steps) if stored else max(plan.steps) + 1


def _from_stored(
    model: LoadedModel,
    recipe: Recipe,
    plan: CollectPlan,
    stored: MapSource,
    form: Form,
    on_progress: OnProgress | None,
) -> Collected:
    """An edit of the recipe itself, whose n-th step has the queries and keys of the n-th wanted."""
    at_steps = AtSteps(stored, plan.steps)
    transfer = TransferSpec(
        layers=plan.layers, steps=tuple(range(len(plan.steps))), branches=plan.branches
    )
    edit = Recipe(generation=recipe.generation, source=recipe, transfer=transfer)
    collector = Collector(model, recipe, plan, StoredValues(at_steps, form))
    last = len(plan.steps) - 1
    _run(model, edit, collector, last, on_progress, transfer_from=at_steps, form=form)
    return collector.collected


def _run(
    model: LoadedModel,
    recipe: Recipe,
    collector: Collector,
    last: int,
    on_progress: OnProgress | None,
    transfer_from: MapSource | None = None,
    form: Form = "hidden",
) -> None:
    def after_step(info: StepInfo) -> None:
        if on_progress is not None:
            on_progress(min(info.step, last) + 1, last + 1)
        if not info.own:
            return
        collector.check_step(info.step)
        if info.step >= last:
            raise Done

    try:
        with AttentionCalls(model, collector.handle):
            generate(model, recipe, transfer_from=transfer_from, form=form, on_step=after_step)
    except Done:
        pass
