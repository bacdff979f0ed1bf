"""Captures with every default filled in, and the arithmetic of their sizes.

The API resolves a request once, against a model's card. Form sizes: arXiv 2504.10317, section 3.
"""

from schemas.attention import CaptureSpec, Form, TransferSpec, resolve_indices
from schemas.capture_plan import CapturePlan
from schemas.errors import InvalidRequest, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe
from schemas.selection import (
    branches_of,
    chosen_branches,
    presets_of,
    resolve_transfer,
    steps_of,
)

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
            f"capture: the attention of {card.id!r} cannot be kept: {card.no_transfer_reason}",
            param="capture",
        )
    generation = recipe.generation
    if spec.scope != "everything":
        spec = _read_by_presets(spec, card, recipe)
    chosen = CapturePlan(
        form=spec.form or "hidden",
        codec=spec.codec,
        layers=resolve_indices(spec.layers, card.layers, "capture.layers"),
        steps=_computed(steps_of(spec.steps, generation, "capture.steps"), recipe),
        branches=chosen_branches(spec.branches, card, generation, "capture.branches"),
        outputs=True,
    )
    if recipe.film is not None or (recipe.transfer is not None and recipe.transfer.anchor):
        chosen = chosen.model_copy(update={"branches": ("cond",)})
    form = _choose_form(spec, chosen, card, recipe)
    if form == "dense":
        return chosen.model_copy(update={"form": form, "outputs": False})
    plan = chosen.model_copy(update={"form": form})
    if form != "latents" or spec.max_bytes is None:
        return plan
    left = spec.max_bytes - plan_bytes(plan, card, generation)
    return plan.model_copy(update={"hidden_layers": last_layers(plan, left, card, generation)})


def _read_by_presets(spec: CaptureSpec, card: ModelCard, recipe: Recipe) -> CaptureSpec:
    """``spec`` with what it leaves open filled in: all that edits with anchored presets read,
    and, of scope regions, what such edits with a region read.

    Of an uploaded film they also read what its run computed, at every step that they compute.
    """
    read = [
        resolve_transfer(TransferSpec(preset=name), card, recipe.generation)
        for name, preset in presets_of(card).items()
        if preset.anchor is not None
    ]
    if not read:
        return spec
    layers = {at for each in read for at in each.needed_layers}
    steps = {at for each in read for at in each.needed_steps}
    if spec.scope == "regions":
        layers = set(range(card.layers))
    if spec.scope == "regions" or recipe.film:
        steps = {at for each in read for at in each.computed_steps}
    given = {
        "layers": spec.layers or tuple(sorted(layers)),
        "steps": spec.steps or tuple(sorted(steps)),
        "branches": spec.branches or ("cond",),
    }
    return spec.model_copy(update=given)


def _computed(steps: tuple[int, ...], recipe: Recipe) -> tuple[int, ...]:
    """Those of ``steps`` that have attention: anchored and cached runs compute some alone."""
    computed = recipe.attended_steps
    there = tuple(step for step in steps if step in computed)
    if not there:
        run = "run with a step cache" if recipe.generation.step_cache else "anchored edit"
        raise InvalidRequest(
            f"capture.steps: none of them is computed in full by this {run}; computed are "
            f"{', '.join(map(str, computed))}",
            param="capture.steps",
        )
    return there


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
    sizes = {
        form: plan_bytes(plan.model_copy(update={"form": form}), card, recipe.generation)
        for form in allowed
    }
    fitting = [form for form in allowed if spec.max_bytes is None or sizes[form] <= spec.max_bytes]
    if not fitting:
        raise InvalidRequest(
            f"capture.max_bytes: {spec.max_bytes} is too small; needed is {min(sizes.values())}",
            param="capture.max_bytes",
        )
    return fitting[0]


def last_layers(
    plan: CapturePlan, max_bytes: int, card: ModelCard, generation: Generation
) -> tuple[int, ...]:
    """As many of ``plan``'s layers, from the last down, as fit with their hidden states."""
    one = plan.model_copy(update={"layers": plan.layers[-1:]})
    count = max(0, max_bytes) // form_bytes("hidden", one, card, generation)
    return plan.layers[len(plan.layers) - min(count, len(plan.layers)) :]


def forms_of(card: ModelCard, recipe: Recipe) -> tuple[Form, ...]:
    """The forms that can hold the attention that the run of ``recipe`` uses.

    An edit runs with its source's queries and keys: mixed ones (strength below 1, chosen heads)
    are no projection of any hidden state, and its latents alone do not tell them. With a region
    it has no queries of the tokens that it leaves out.
    """
    generation = recipe.generation
    frames, height, width = card.grid.tokens(
        generation.width, generation.height, generation.num_frames
    )
    if recipe.source is None:
        forms: list[Form] = ["hidden", "qk", "latents"]
    else:
        transfer = resolve_transfer(recipe.transfer or TransferSpec(), card, generation)
        forms = ["hidden"] if transfer.whole else []
        if transfer.region_layers:
            return tuple(forms)  # not every token has a query
        forms.append("qk")
    if frames * height * width <= DENSE_MAX_TOKENS and recipe.film is None:
        forms.append("dense")
    return tuple(forms)


def plan_bytes(plan: CapturePlan, card: ModelCard, generation: Generation) -> int:
    """Bytes of all that ``plan`` keeps, before compression."""
    kept = plan.model_copy(update={"layers": plan.hidden_layers})
    beside = form_bytes("hidden", kept, card, generation)
    if plan.outputs:
        branches = len(branches_of(card, generation))
        beside += branches * form_bytes("latents", plan, card, generation)
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
