"""From stored attention to what a run takes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from schemas.capture_plan import INPUTS, OUTPUTS, VELOCITY
from schemas.recipes import Recipe
from schemas.selection import ResolvedRecipe
from workers.attention.attention_hooks import AttentionHooks
from workers.attention.maps import Address, MapSource
from workers.attention.recomputed_source import RecomputedSource
from workers.attention.transfer import StoredAttention, Transfer


class FilmOutputs:
    """A MapSource of what an uploaded film's run was answered: one velocity at every step."""

    def __init__(self, stored: MapSource) -> None:
        self._stored = stored

    def get(self, address: Address, name: str) -> Tensor:
        if name in OUTPUTS:
            return self._stored.get(Address(0, "cond", INPUTS), VELOCITY)
        return self._stored.get(address, name)


@contextmanager
def transfer_from(
    stored: StoredAttention, hooks: AttentionHooks, resolved: ResolvedRecipe
) -> Iterator[Transfer]:
    """What an edit takes out of ``stored``. Latents are recomputed within the block, layer by
    layer, while the edit runs."""
    wanted, source = resolved.transfer, resolved.recipe.source
    assert wanted is not None
    assert source is not None
    transfer = Transfer(wanted, stored.plan.form, stored.source)
    if wanted.anchor is not None:
        of_film = source.film is not None
        transfer = replace(
            transfer,
            outputs=FilmOutputs(stored.source) if of_film else stored.source,
            follows_anchored=of_film or bool(source.transfer and source.transfer.anchor),
            same_inputs=_inputs(resolved.recipe) == _inputs(source),
        )
    if stored.plan.form != "latents":
        yield transfer
        return
    layers = stored.plan.recomputed_layers(wanted.needed())
    branches = hooks.family.branches(source.generation.guidance_scale)
    if wanted.anchor is not None:
        branches = ("cond",)
    with RecomputedSource(
        hooks,
        stored.source,
        layers=layers,
        hidden_layers=frozenset(wanted.needed_layers) - layers,
        branches=branches,
        kept=stored.recomputed(branches) if stored.recomputed else None,
    ) as recomputed:
        yield replace(transfer, form="hidden", source=recomputed)


def _inputs(recipe: Recipe) -> tuple[str, str | None]:
    """What cond is a function of, beside the latents: the prompt, and the picture's content."""
    generation = recipe.generation
    return generation.prompt, generation.picture.sha256 if generation.picture else None
