"""Getting a map's queries and keys: one step of the stock pipeline, with the source's put in.

From a stored artifact of form hidden or qk, the pipeline makes its first step with the stored
tensors of the wanted one in their place; the attention call then has exactly the source's queries
and keys, rotary embedding included, whatever the family. Without one, the video is made again up
to the wanted step.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from schemas.attention import TransferSpec
from schemas.capture_plan import Needed
from schemas.errors import Unsupported
from schemas.maps import STORED_FORMS, Place, check_place
from schemas.recipes import Recipe
from schemas.selection import resolve_recipe
from workers.analysis.heatmap import pooled_map
from workers.attention.attention_hooks import AttentionHooks
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


class Look(TorchFunctionMode):
    """While entered, pools the map of ``place`` when the attention at it is computed."""

    def __init__(self, hooks: AttentionHooks, place: Place, bins: int) -> None:
        super().__init__()
        self.pooled: Tensor | None = None
        self._hooks, self._place, self._bins = hooks, place, bins

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            self._look(*args[:2], **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _look(self, query: Tensor, key: Tensor, **options: Any) -> None:
        """``query``, ``key``: (B, H, N', d), the batch as ``Run`` lays it out."""
        run, place = self._hooks.current, self._place
        if run is None or run.inside is None or self.pooled is not None:
            return
        here = (run.step, run.inside.layer) == (place.step, place.layer)
        if not here or place.branch not in run.here or len(query) % run.batch:
            return
        size = len(query) // run.batch
        last = (run.here.index(place.branch) + 1) * len(run.transfers) * size - size
        scale = options.get("scale")
        self.pooled = pooled_map(
            query[last, place.head],
            key[last, place.head],
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            bins=self._bins,
            video=run.inside.token_slice(run.tokens, query.shape[2]),
        )


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
        if recipe.source is not None:
            raise Unsupported("an edit's map can only be shown from its stored attention")
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

    look = Look(model.hooks, place, bins)
    try:
        with look:
            resolved = resolve_recipe(recipe, model.card)
            generate(model, resolved, stored=stored, on_step=after_step)
    except Seen:
        pass
    if look.pooled is None:
        raise Unsupported("this model's attention kernel does not show its queries and keys")
    return look.pooled
