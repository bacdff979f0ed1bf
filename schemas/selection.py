"""Capture and transfer with every default filled in, and the arithmetic of their sizes.

The API resolves a request once, against a model's card; storage and workers then compare plain
sets of layers, steps and branches. Form sizes: arXiv 2504.10317, section 3.
"""

from typing import Literal

from schemas.artifacts import CapturePlan, Needed
from schemas.attention import (
    Branch,
    CaptureSpec,
    Form,
    Preset,
    PresetName,
    StepRange,
    Steps,
    TransferSpec,
    resolve_indices,
    resolve_steps,
)
from schemas.base import Frozen
from schemas.errors import InvalidRequest, SourceMismatch, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
FORMS: tuple[Form, ...] = ("hidden", "qk", "latents")  # the order in which a budget tries them
DENSE_MAX_TOKENS = 4096  # one map of a head is then 64 MB in fp32


class ResolvedTransfer(Frozen):
    """What is put into an edit. ``heads`` None: all of them.

    ``needed_branches``: the source's branches that are read.
    """

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
    def whole(self) -> bool:
        """Whether the source's maps replace the edit's own entirely where they are put in."""
        return self.heads is None and self.strength == 1 and self.strength_end in (None, 1)

    def needed(self, passes: int = 1) -> Needed:
        """What is read of the source; ``passes`` as in ``Needed``."""
        return Needed(
            frozenset(self.layers), frozenset(self.steps), frozenset(self.needed_branches), passes
        )

    def strength_at(self, step: int) -> float:
        """The strength at ``step``: linear over the transferred steps where an end is given."""
        if self.strength_end is None or len(self.steps) == 1:
            return self.strength
        part = (step - self.steps[0]) / (self.steps[-1] - self.steps[0])
        return self.strength + (self.strength_end - self.strength) * part


# Settled by sweeps on the bundled model: docs/experiments/model.md. What holds of that model alone
# (which layers) stands in its own retake.json.
PRESETS: dict[PresetName, Preset] = {
    "auto": Preset(),
    "recolour": Preset(branches=("cond",)),
    "restyle": Preset(steps=0.5),
    "object": Preset(),
    "background": Preset(steps=0.5),
}


def branches_of(card: ModelCard, generation: Generation) -> tuple[Branch, ...]:
    """The guidance branches that a run has: only ``cond`` where guidance is off."""
    return card.branches if generation.guidance_scale > 1 else ("cond",)


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
            f"transfer: model {card.id!r} has no softmax attention map to transfer",
            param="transfer",
        )
    spec = apply_preset(spec, card, generation.num_inference_steps)
    heads = (
        None if spec.heads is None else resolve_indices(spec.heads, card.heads, "transfer.heads")
    )
    return ResolvedTransfer(
        layers=resolve_indices(spec.layers, card.layers, "transfer.layers"),
        steps=_steps(spec.steps, generation, "transfer.steps"),
        branches=_branches(spec.branches, card, generation, "transfer.branches"),
        heads=None if heads is None or len(heads) == card.heads else heads,
        source_branch=spec.source_branch,
        strength=spec.strength,
        strength_end=spec.strength_end,
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


def resolve_capture(spec: CaptureSpec, card: ModelCard, recipe: Recipe) -> CapturePlan:
    """``spec`` for the run of ``recipe``; raises InvalidRequest or Unsupported.

    Without a form, the first of hidden, qk and latents that fits ``max_bytes`` is chosen. What
    latents leave of ``max_bytes`` goes to the hidden states of the last layers, which are the
    dearest to rerun. Form latents always keeps all: any layer of any step can be rerun from it,
    and it is small.
    """
    if not card.supports_transfer:
        raise Unsupported(
            f"capture: model {card.id!r} has no softmax attention map to keep", param="capture"
        )
    generation = recipe.generation
    branches = branches_of(card, generation)
    everything = CapturePlan(
        form=spec.form or "hidden",
        codec=spec.codec,
        layers=tuple(range(card.layers)),
        steps=tuple(range(generation.num_inference_steps)),
        branches=branches,
    )
    chosen = everything.model_copy(
        update={
            "layers": resolve_indices(spec.layers, card.layers, "capture.layers"),
            "steps": _steps(spec.steps, generation, "capture.steps"),
            "branches": _branches(spec.branches, card, generation, "capture.branches"),
        }
    )
    form = _choose_form(spec, chosen, card, recipe)
    if form != "latents":
        return chosen.model_copy(update={"form": form})
    latents = everything.model_copy(update={"form": form})
    if spec.max_bytes is None:
        return latents
    left = spec.max_bytes - form_bytes(form, chosen, card, generation)
    kept = _last_layers(chosen.layers, left, everything, card, generation)
    return latents.model_copy(update={"hidden_layers": kept})


def _choose_form(spec: CaptureSpec, plan: CapturePlan, card: ModelCard, recipe: Recipe) -> Form:
    """The form asked for, or the first that fits the budget; raises InvalidRequest."""
    possible = forms_of(card, recipe)
    allowed = [form for form in ((spec.form,) if spec.form else FORMS) if form in possible]
    if not allowed:
        raise InvalidRequest(
            f"capture.form: {plan.form!r} cannot hold this run's attention; "
            f"allowed is {', '.join(possible)}",
            param="capture.form",
        )
    sizes = {form: form_bytes(form, plan, card, recipe.generation) for form in allowed}
    fitting = [form for form in allowed if spec.max_bytes is None or sizes[form] <= spec.max_bytes]
    if not fitting:
        raise InvalidRequest(
            f"capture.max_bytes: {spec.max_bytes} is too small; needed is {min(sizes.values())}",
            param="capture.max_bytes",
        )
    return fitting[0]


def _last_layers(
    layers: tuple[int, ...],
    max_bytes: int,
    everything: CapturePlan,
    card: ModelCard,
    generation: Generation,
) -> tuple[int, ...]:
    """As many of ``layers``, from the last down, as fit with their hidden states of every step."""
    one = everything.model_copy(update={"layers": layers[-1:]})
    count = max_bytes // form_bytes("hidden", one, card, generation)
    return layers[len(layers) - min(count, len(layers)) :]


def forms_of(card: ModelCard, recipe: Recipe) -> tuple[Form, ...]:
    """The forms that can hold the attention that the run of ``recipe`` uses.

    An edit runs with its source's queries and keys: mixed ones (strength below 1, chosen heads)
    are no projection of any hidden state, and its latents alone do not tell them.
    """
    generation = recipe.generation
    frames, height, width = card.grid.tokens(
        generation.width, generation.height, generation.num_frames
    )
    forms: list[Form] = ["qk"]
    if recipe.source is None:
        forms = ["hidden", "qk", "latents"]
    elif recipe.transfer is None or resolve_transfer(recipe.transfer, card, generation).whole:
        forms = ["hidden", "qk"]
    if frames * height * width <= DENSE_MAX_TOKENS:
        forms.append("dense")
    return tuple(forms)


def plan_bytes(plan: CapturePlan, card: ModelCard, generation: Generation) -> int:
    """Bytes of all that ``plan`` keeps, before compression."""
    kept = plan.model_copy(update={"layers": plan.hidden_layers})
    beside = form_bytes("hidden", kept, card, generation)
    return form_bytes(plan.form, plan, card, generation) + beside


def form_bytes(form: Form, capture: CapturePlan, card: ModelCard, generation: Generation) -> int:
    """Bytes of an artifact before compression, by arithmetic alone."""
    frames, height, width = card.grid.tokens(
        generation.width, generation.height, generation.num_frames
    )
    tokens = frames * height * width
    item = ITEM_BYTES[card.dtype]
    places = len(capture.layers) * len(capture.steps) * len(capture.branches)
    if form == "hidden":
        return places * tokens * card.width * item
    if form == "qk":
        return places * 2 * tokens * card.width * item
    if form == "dense":
        return places * card.heads * tokens * tokens * item
    patch = card.grid.patch[0] * card.grid.patch[1] * card.grid.patch[2]
    return generation.num_inference_steps * tokens * patch * card.latent_channels * item


def _steps(steps: Steps | None, generation: Generation, param: str) -> tuple[int, ...]:
    return resolve_steps(steps, generation.num_inference_steps, param)


def _branches(
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
