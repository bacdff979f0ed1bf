"""Transfers with every default filled in, against a model's card and a run's settings.

Storage and workers then compare plain sets of layers, steps and branches.
"""

from typing import Literal, NamedTuple

from schemas.attention import (
    Anchor,
    Branch,
    Preset,
    PresetName,
    StepRange,
    Steps,
    TransferSpec,
    resolve_indices,
    resolve_steps,
)
from schemas.base import Frozen
from schemas.capture_plan import Needed
from schemas.errors import InvalidRequest, SourceMismatch, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe, check_generated, check_same_shot


class ResolvedTransfer(Frozen):
    """What is put into an edit. ``heads`` None: all of them.

    ``computed_steps``: of an anchored edit, the steps in which the transformer is called; ``steps``
    are then among them, and the one branch is cond. ``of_film``: the source is an uploaded film.
    ``region_layers``: with a region, every layer, whose states tell the values of what it leaves
    out. ``needed_branches``: the source's branches whose attention is read.
    """

    anchor: Anchor | None = None
    computed_steps: tuple[int, ...] = ()
    of_film: bool = False
    region_layers: tuple[int, ...] = ()
    layers: tuple[int, ...]
    steps: tuple[int, ...]
    branches: tuple[Branch, ...]
    heads: tuple[int, ...] | None
    source_branch: Literal["own", "cond"]
    strength: float
    strength_end: float | None

    @property
    def needed_branches(self) -> tuple[Branch, ...]:
        return ("cond",) if self.source_branch == "cond" else self.branches

    @property
    def needed_layers(self) -> tuple[int, ...]:
        return self.region_layers or self.layers

    @property
    def needed_steps(self) -> tuple[int, ...]:
        return self.computed_steps if self.region_layers else self.steps

    def source_of(self, branch: Branch) -> Branch:
        """The source's branch that goes into the edit's ``branch``."""
        return "cond" if self.source_branch == "cond" else branch

    @property
    def whole(self) -> bool:
        """Whether the source's maps replace the edit's own entirely where they are put in."""
        return self.heads is None and self.strength == 1 and self.strength_end in (None, 1)

    def needed(self, passes: int = 1) -> Needed:
        """What is read of the source; ``passes`` as in ``Needed``."""
        return Needed(
            frozenset(self.needed_layers),
            frozenset(self.needed_steps),
            frozenset(self.needed_branches),
            passes,
            outputs=self.anchor is not None,
            computed_steps=frozenset(self.computed_steps),
            of_film=self.of_film,
            values=bool(self.region_layers),
        )

    def strength_at(self, step: int) -> float:
        """The strength at ``step``: linear over the transferred steps where an end is given."""
        if self.strength_end is None or len(self.steps) == 1:
            return self.strength
        part = (step - self.steps[0]) / (self.steps[-1] - self.steps[0])
        return self.strength + (self.strength_end - self.strength) * part


# Settled by sweeps: docs/experiments/model.md. Which layers is a model's own: its retake.json
PRESETS: dict[PresetName, Preset] = {
    "auto": Preset(),
    "recolour": Preset(),
    "restyle": Preset(),
    "object": Preset(),
    "background": Preset(),
    "paper": Preset(anchor=None),
}


def branches_of(card: ModelCard, generation: Generation) -> tuple[Branch, ...]:
    """The guidance branches that a run has: only ``cond`` where guidance is off."""
    guided = generation.guidance_scale > 1 or card.always_guided
    return card.branches if guided else ("cond",)


def presets_of(card: ModelCard) -> dict[PresetName, Preset]:
    """Every preset as it is for this model."""
    return PRESETS | card.presets


def apply_preset(spec: TransferSpec, card: ModelCard, total_steps: int) -> TransferSpec:
    """``spec`` without a preset: its values are written out where the caller named none.

    A recipe holds the result, so that a later change of a preset cannot change what a key means.
    """
    if spec.preset is None:
        return spec
    preset = presets_of(card)[spec.preset]
    given = {name: getattr(spec, name) for name in spec.model_fields_set if name != "preset"}
    values: dict[str, object] = preset.model_dump(include={"layers", "branches"}, exclude_none=True)
    values["anchor"] = preset.anchor_of(total_steps)
    stop = preset.stop(total_steps)
    if stop is not None:
        values["steps"] = StepRange(stop=stop)
    return TransferSpec.model_validate(values | given)


def resolve_transfer(
    spec: TransferSpec, card: ModelCard, generation: Generation
) -> ResolvedTransfer:
    """``spec`` for one run of ``card``'s model; raises InvalidRequest or Unsupported."""
    if not card.supports_transfer:
        raise Unsupported(
            f"transfer: model {card.id!r} cannot be edited: {card.no_transfer_reason}",
            param="transfer",
        )
    spec = apply_preset(spec, card, generation.num_inference_steps)
    heads = (
        None if spec.heads is None else resolve_indices(spec.heads, card.heads, "transfer.heads")
    )
    steps = steps_of(spec.steps, generation, "transfer.steps")
    branches = chosen_branches(spec.branches, card, generation, "transfer.branches")
    computed: tuple[int, ...] = ()
    anchor = spec.anchor
    if anchor is not None:
        computed, steps, branches = _anchored(anchor, steps, branches, generation)
        anchor = anchor.model_copy(update={"region": card.checked_region(anchor.region)})
    return ResolvedTransfer(
        anchor=anchor,
        computed_steps=computed,
        region_layers=tuple(range(card.layers)) if anchor and anchor.region else (),
        layers=resolve_indices(spec.layers, card.layers, "transfer.layers"),
        steps=steps,
        branches=branches,
        heads=None if heads is None or len(heads) == card.heads else heads,
        source_branch=spec.source_branch,
        strength=spec.strength,
        strength_end=spec.strength_end,
    )


def _anchored(
    anchor: Anchor, steps: tuple[int, ...], branches: tuple[Branch, ...], generation: Generation
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Branch, ...]]:
    """(computed steps, those of them whose maps are put in, the branch) of an anchored edit."""
    total = generation.num_inference_steps
    if anchor.interval > total:
        raise InvalidRequest(
            f"transfer.anchor.interval: {anchor.interval} is not allowed; allowed is 1 to {total}, "
            "the steps of the run",
            param="transfer.anchor.interval",
        )
    computed = anchor.computed_steps(total)
    kept = tuple(step for step in computed if step in set(steps))
    if not kept:
        raise InvalidRequest(
            f"transfer.steps: none of them is computed by an edit with interval {anchor.interval}; "
            f"computed are {', '.join(map(str, computed))}",
            param="transfer.steps",
        )
    if "cond" not in branches:
        raise InvalidRequest(
            "transfer.branches: an anchored edit computes 'cond' alone; allowed is ['cond'], or "
            "transfer.anchor null",
            param="transfer.branches",
        )
    return computed, kept, ("cond",)


def check_anchor(
    transfer: ResolvedTransfer, edit: Generation, source: Recipe, card: ModelCard
) -> None:
    """Raise SourceMismatch unless ``source``'s run can be followed as ``transfer`` wants.

    The source's guidance goes into what is followed; and of one that is anchored, or was made with
    a step cache, only the computed steps have attention.
    """
    if transfer.anchor is not None:
        for field in ("guidance_scale", "guidance_scale_2", "negative_prompt"):
            wanted, had = getattr(edit, field), getattr(source.generation, field)
            if wanted != had:
                raise SourceMismatch(
                    f"{field}: the edit's {wanted!r} differs from the source's {had!r}, whose "
                    "guidance an anchored edit follows; leave it out, or set transfer.anchor null",
                    param=field,
                )
    elif source.film is not None:
        raise Unsupported(
            "transfer.anchor: null is not allowed where the source is an uploaded video, which no "
            "model denoised; leave it out, or give an interval",
            param="transfer.anchor",
        )
    if transfer.region_layers:
        check_generated(source, "transfer.anchor.region")
    cache, followed = source.generation.step_cache, source.transfer and source.transfer.anchor
    if cache is None and followed is None:
        return
    if transfer.anchor is None or not set(source.attended_steps).issuperset(
        transfer.computed_steps
    ):
        made, interval = "is itself an edit", followed and followed.interval
        if cache is not None:
            made, interval = "was made with a step cache", cache.refresh
        raise SourceMismatch(
            f"transfer.anchor.interval: the source {made} and has whole attention at step 0 and "
            f"every {interval} steps behind it alone; allowed is a multiple of {interval}",
            param="transfer.anchor.interval",
        )


def check_branches(transfer: ResolvedTransfer, card: ModelCard, source: Generation) -> None:
    """Raise SourceMismatch if ``transfer`` reads a branch that ``source`` was made without."""
    had = branches_of(card, source)
    missing = [branch for branch in transfer.needed_branches if branch not in had]
    if missing:
        raise SourceMismatch(
            f"guidance_scale: the source was made at {source.guidance_scale:g}, without branch "
            f"{missing[0]!r}; transfer.source_branch 'cond' puts its cond maps into both",
            param="guidance_scale",
        )


class ResolvedRecipe(NamedTuple):
    """A recipe with the transfers of its chain: its own first; None for a plain generation."""

    recipe: Recipe
    transfers: tuple[ResolvedTransfer | None, ...]

    @property
    def transfer(self) -> ResolvedTransfer | None:
        """What is put into the recipe's own run."""
        return self.transfers[0]

    def chain(self) -> list["ResolvedRecipe"]:
        """This and what it was edited from, nearest first."""
        return [
            ResolvedRecipe(recipe, self.transfers[place:])
            for place, recipe in enumerate(self.recipe.chain())
        ]


def resolve_recipe(recipe: Recipe, card: ModelCard) -> ResolvedRecipe:
    """``recipe`` for ``card``'s model; raises InvalidRequest, Unsupported, SourceMismatch."""
    transfers: list[ResolvedTransfer | None] = []
    for each in recipe.chain():
        if each.source is None:
            transfers.append(None)
            continue
        check_same_shot(each.generation, each.source.generation)
        if each.generation.step_cache is not None:
            raise InvalidRequest(
                "step_cache: not allowed in an edit, which computes few steps, and those in full; "
                "leave it out",
                param="step_cache",
            )
        transfer = resolve_transfer(each.transfer or TransferSpec(), card, each.generation)
        check_branches(transfer, card, each.source.generation)
        check_anchor(transfer, each.generation, each.source, card)
        of_film = each.source.film is not None
        transfers.append(transfer.model_copy(update={"of_film": of_film}))
    return ResolvedRecipe(recipe, tuple(transfers))


def steps_of(steps: Steps | None, generation: Generation, param: str) -> tuple[int, ...]:
    return resolve_steps(steps, generation.num_inference_steps, param)


def chosen_branches(
    chosen: tuple[Branch, ...] | None, card: ModelCard, generation: Generation, param: str
) -> tuple[Branch, ...]:
    """``chosen`` in the card's order; a branch that this run does not have is refused."""
    had = branches_of(card, generation)
    for branch in chosen or ():
        if branch not in had:
            raise InvalidRequest(
                f"{param}: {branch!r} is not a branch of this run; allowed is {', '.join(had)} "
                f"(model {card.id!r} at guidance_scale {generation.guidance_scale:g})",
                param=param,
            )
    return tuple(branch for branch in had if chosen is None or branch in chosen)
