"""Getting a map's queries and keys: one step of the stock pipeline, with the source's put in.

From a stored artifact of form hidden or qk, the pipeline makes its first step with the stored
tensors of the wanted one in their place; the attention call then has exactly the source's queries
and keys, rotary embedding included, whatever the family. Without one, the video is made again up
to the wanted step.
"""

from torch import Tensor

from schemas.attention import TransferSpec
from schemas.capture_plan import Needed
from schemas.errors import Unsupported
from schemas.maps import STORED_FORMS, Place, check_place
from schemas.recipes import Recipe
from schemas.selection import resolve_recipe
from workers.analysis.attention_calls import AttentionCall, AttentionCalls, Stock
from workers.analysis.heatmap import pooled_map
from workers.attention.maps import Address, MapSource
from workers.attention.transfer import StoredAttention
from workers.generation.denoise import OnStep, StepInfo
from workers.generation.generate import generate
from workers.models.pipelines import LoadedModel


class Seen(Exception):
    """Raised behind the step that was looked at: the rest of the video is not wanted."""


class AtStep:
    """``source``'s tensors of one step, whatever step is asked for."""

    def __init__(self, source: MapSource, step: int) -> None:
        self._source, self._step = source, step

    def get(self, address: Address, name: str) -> Tensor:
        return self._source.get(address._replace(step=self._step), name)


class Look:
    """Pools the map of ``place`` when the attention at it is computed."""

    def __init__(self, place: Place, bins: int) -> None:
        self.pooled: Tensor | None = None
        self._place, self._bins = place, bins

    def handle(self, call: AttentionCall, stock: Stock) -> Tensor:
        place = self._place
        here = (call.run.step, call.attn.layer) == (place.step, place.layer)
        part = call.part(place.branch) if here and self.pooled is None else None
        if part is not None:
            self.pooled = pooled_map(
                call.query[part.start, place.head],
                call.key[part.start, place.head],
                scale=call.scale,
                bins=self._bins,
                video=call.video,
            )
        return stock()


def needed_for(place: Place) -> Needed:
    """What a stored artifact must hold for ``render_map``."""
    return Needed(frozenset({place.layer}), frozenset({place.step}), frozenset({place.branch}))


def render_map(
    model: LoadedModel,
    recipe: Recipe,
    place: Place,
    *,
    bins: int = 512,
    stored: StoredAttention | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The pooled map of ``place`` in the run of ``recipe``: (b, b) fp32.

    ``stored``: what was kept of its attention, in form hidden or qk; without it the video is made
    again up to the step. ``on_step`` hears of each step that is run for it, and may raise
    (JobCancelled) to stop. Raises InvalidRequest, Unsupported, ArtifactMissing, ArtifactCorrupt.
    """
    check_place(place, model.card, recipe.generation)
    if stored is None or stored.plan.form not in STORED_FORMS:
        if not recipe.is_plain:
            raise Unsupported(
                "the map of an edit or an uploaded video can only be shown from stored attention"
            )
        return _run_to_step(model, recipe, place, bins, on_step)
    # any step will do, the first is the soonest; of two experts only the step's own has the layer
    at = 0 if len(model.hooks.transformers) == 1 else place.step
    transfer = TransferSpec(layers=(place.layer,), steps=(at,), branches=(place.branch,))
    # whatever the run was edited from: its attention comes from ``stored``, at any step
    source = Recipe(generation=recipe.generation)
    edit = Recipe(generation=recipe.generation, source=source, transfer=transfer)
    return _run_to_step(
        model,
        edit,
        place._replace(step=at),
        bins,
        on_step,
        StoredAttention(stored.plan, AtStep(stored.source, place.step)),
    )


def _run_to_step(
    model: LoadedModel,
    recipe: Recipe,
    place: Place,
    bins: int,
    on_step: OnStep | None,
    stored: StoredAttention | None = None,
) -> Tensor:
    def after_step(info: StepInfo) -> None:
        if on_step is not None:
            on_step(info._replace(total=place.step + 1))
        if info.step >= place.step:
            raise Seen

    look = Look(place, bins)
    try:
        with AttentionCalls(model, look.handle):
            resolved = resolve_recipe(recipe, model.card)
            generate(model, resolved, stored=stored, on_step=after_step)
    except Seen:
        pass
    if look.pooled is None:
        raise Unsupported("this model's attention kernel does not show its queries and keys")
    return look.pooled
