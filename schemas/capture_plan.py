"""Captures with every default filled in, and the arithmetic of their sizes.

The API resolves a request once, against a model's card. Form sizes: arXiv 2504.10317, section 3.
"""

from schemas.artifacts import CapturePlan
from schemas.attention import CaptureSpec, Form, resolve_indices
from schemas.errors import InvalidRequest, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe
from schemas.selection import branches_of, chosen_branches, resolve_transfer, steps_of

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
FORMS: tuple[Form, ...] = ("hidden", "qk", "latents")  # the order in which a budget tries them
DENSE_MAX_TOKENS = 4096  # one map of a head is then 64 MB in fp32


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
            "steps": steps_of(spec.steps, generation, "capture.steps"),
            "branches": chosen_branches(spec.branches, card, generation, "capture.branches"),
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
