"""What keeping a generation's attention would take, and what edits from it would cost.

Arithmetic alone, from a model's card: nothing runs. Form sizes: arXiv 2504.10317, section 3.
Costs are a run's time in units of a plain generation's, without the time to load. An anchored edit
makes one call of one branch at each of its computed steps, any other those of a generation. Hidden
and qk replace what the edit would compute; latents recompute the source's layers up to the last
one wanted, (last + 1) / layers of such a call; without an artifact every source runs again first.
"""

from schemas.attention import CaptureSpec, CodecName, Form, TransferSpec
from schemas.base import Frozen
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import FORMS, form_bytes, forms_of, plan_bytes, resolve_capture
from schemas.selection import ResolvedTransfer, branches_of, resolve_recipe, resolve_transfer

# Stored bytes over decoded ones, on activations: docs/experiments/store.md
STORED_SHARE: dict[tuple[CodecName, str], float] = {
    ("zipnn", "bfloat16"): 0.67,
    ("zipnn", "float16"): 0.87,
    ("zipnn", "float32"): 0.84,
    ("zstd", "bfloat16"): 0.78,
    ("zstd", "float16"): 0.93,
    ("zstd", "float32"): 0.93,
    ("int8", "bfloat16"): 0.45,
    ("int8", "float16"): 0.45,
    ("int8", "float32"): 0.23,
}


class FormEstimate(Frozen):
    """One form. ``bytes``: decoded. ``stored_bytes``: expected in the store, by the codec.

    ``available``: whether this run's attention can be kept in this form at all.
    ``edit_cost``: an edit's time, 1 is a plain generation. ``edit_read_bytes``: what it loads.
    ``share_of_dense``: stored bytes against the maps themselves.
    """

    form: Form
    available: bool
    bytes: int
    stored_bytes: int
    share_of_dense: float
    edit_cost: float
    edit_read_bytes: int


class Estimate(Frozen):
    """``chosen``: the form that a capture with this spec would have, and ``hidden_layers`` those
    that need no rerun beside latents; ``chosen_bytes`` (decoded) and ``chosen_edit_cost`` are of
    both together. ``chosen_least_edit_cost``: of an edit with a region, what it costs if hardly
    anything changes, as the other if all does; else they are the same. ``replay_cost``: of an edit
    when nothing is stored. ``grid``: tokens as (frames, rows, columns)."""

    model: str
    grid: tuple[int, int, int]
    tokens: int
    layers: tuple[int, ...]
    steps: tuple[int, ...]
    branches: tuple[str, ...]
    codec: CodecName
    chosen: Form
    hidden_layers: tuple[int, ...]
    chosen_bytes: int
    chosen_edit_cost: float
    chosen_least_edit_cost: float
    forms: tuple[FormEstimate, ...]
    replay_cost: float


def estimate(
    capture: CaptureSpec, transfer: TransferSpec, card: ModelCard, recipe: Recipe
) -> Estimate:
    """Of keeping ``recipe``'s attention by ``capture`` for edits by ``transfer``.

    Raises InvalidRequest, Unsupported: what a generation with this capture would be refused for.
    """
    generation = recipe.generation
    chosen = resolve_capture(capture, card, recipe)
    wanted = resolve_transfer(transfer, card, generation)
    any_form = capture.model_copy(update={"form": "qk", "max_bytes": None})
    plan = resolve_capture(any_form, card, recipe)
    read = plan.model_copy(
        update={
            "layers": wanted.needed_layers,
            "steps": wanted.needed_steps,
            "branches": wanted.needed_branches,
        }
    )
    dense = form_bytes("dense", plan, card, generation)
    available = forms_of(card, recipe)
    forms = []
    for form in (*FORMS, "dense"):
        share = stored_share(form, capture.codec, card.dtype)
        held = plan.model_copy(update={"form": form, "outputs": form != "dense"})
        size = plan_bytes(held, card, generation)
        taken = read.model_copy(update={"form": form, "outputs": wanted.anchor is not None})
        forms.append(
            FormEstimate(
                form=form,
                available=form in available,
                bytes=size,
                stored_bytes=round(size * share),
                share_of_dense=size * share / dense,
                edit_cost=edit_cost(form, wanted, card, generation),
                edit_read_bytes=round(plan_bytes(taken, card, generation) * share),
            )
        )
    cost = edit_cost(chosen.form, wanted, card, generation, chosen.hidden_layers)
    grid = card.grid.tokens(generation.width, generation.height, generation.num_frames)
    return Estimate(
        model=card.id,
        grid=grid,
        tokens=grid[0] * grid[1] * grid[2],
        layers=chosen.layers,
        steps=chosen.steps,
        branches=chosen.branches,
        codec=chosen.codec,
        chosen=chosen.form,
        hidden_layers=chosen.hidden_layers,
        chosen_bytes=plan_bytes(chosen, card, generation),
        chosen_edit_cost=cost,
        chosen_least_edit_cost=cost - _left_out(wanted, card, generation),
        forms=tuple(forms),
        replay_cost=_replay_cost(recipe, wanted, card),
    )


def stored_share(form: Form, codec: CodecName, dtype: str) -> float:
    """Expected stored bytes over decoded ones; latents are never lossy."""
    if form == "latents" and codec == "int8":
        codec = "zipnn"
    return STORED_SHARE.get((codec, dtype), 1.0)


def edit_cost(
    form: Form,
    wanted: ResolvedTransfer,
    card: ModelCard,
    generation: Generation,
    hidden_layers: tuple[int, ...] = (),
) -> float:
    """The time of an edit that puts in what is ``wanted``, over a plain generation's."""
    computed = 1.0
    branches, total = len(branches_of(card, generation)), generation.num_inference_steps
    if wanted.anchor is not None:
        computed = len(wanted.computed_steps) / (total * branches)
    recomputed = set(wanted.needed_layers) - set(hidden_layers)
    if form != "latents" or not recomputed:
        return computed
    share = len(wanted.needed_steps) / total * len(wanted.needed_branches) / branches
    return computed + (max(recomputed) + 1) / card.layers * share


def _left_out(wanted: ResolvedTransfer, card: ModelCard, generation: Generation) -> float:
    """What a region may save of an edit's cost: all but the first of its computed steps."""
    if not wanted.region_layers:
        return 0.0
    passes = len(branches_of(card, generation)) * generation.num_inference_steps
    return (len(wanted.computed_steps) - 1) / passes


def _replay_cost(recipe: Recipe, wanted: ResolvedTransfer, card: ModelCard) -> float:
    """Of an edit of ``recipe``'s video where nothing is stored: its sources run first."""
    transfers = [*resolve_recipe(recipe, card).transfers, wanted]
    runs = [each for each in transfers if each is not None]
    return 1.0 + sum(edit_cost("hidden", each, card, recipe.generation) for each in runs)
