"""What keeping a generation's attention would take, and what edits from it would cost.

Arithmetic alone, from a model's card: nothing runs. Form sizes: arXiv 2504.10317, section 3.
Costs are a run's time in units of a plain generation's, without the time to load: hidden and qk
replace what the edit would compute; latents rerun the source's layers up to the last one wanted,
1 + (last + 1) / layers; without an artifact every source of the chain runs beside the edit.
"""

from schemas.attention import CaptureSpec, CodecName, Form, TransferSpec
from schemas.base import Frozen
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe
from schemas.selection import (
    FORMS,
    ResolvedTransfer,
    branches_of,
    form_bytes,
    forms_of,
    resolve_capture,
    resolve_transfer,
)

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
    """``chosen``: the form that a capture with this spec would have. ``replay_cost``: of an edit
    when nothing is stored. ``grid``: tokens as (frames, rows, columns)."""

    model: str
    grid: tuple[int, int, int]
    tokens: int
    layers: tuple[int, ...]
    steps: tuple[int, ...]
    branches: tuple[str, ...]
    codec: CodecName
    chosen: Form
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
            "layers": wanted.layers,
            "steps": wanted.steps,
            "branches": wanted.needed_branches,
        }
    )
    dense = form_bytes("dense", plan, card, generation)
    available = forms_of(card, recipe)
    forms = []
    for form in (*FORMS, "dense"):
        share = stored_share(form, capture.codec, card.dtype)
        size = form_bytes(form, plan, card, generation)
        forms.append(
            FormEstimate(
                form=form,
                available=form in available,
                bytes=size,
                stored_bytes=round(size * share),
                share_of_dense=size * share / dense,
                edit_cost=edit_cost(form, wanted, card, generation),
                edit_read_bytes=round(form_bytes(form, read, card, generation) * share),
            )
        )
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
        forms=tuple(forms),
        replay_cost=1.0 + len(recipe.chain()),
    )


def stored_share(form: Form, codec: CodecName, dtype: str) -> float:
    """Expected stored bytes over decoded ones; latents are never lossy."""
    if form == "latents" and codec == "int8":
        codec = "zipnn"
    return STORED_SHARE.get((codec, dtype), 1.0)


def edit_cost(
    form: Form, wanted: ResolvedTransfer, card: ModelCard, generation: Generation
) -> float:
    """The time of an edit that puts in what is ``wanted``, over a plain generation's."""
    if form != "latents":
        return 1.0
    branches = branches_of(card, generation)
    steps = len(wanted.steps) / generation.num_inference_steps
    calls = len(wanted.needed_branches) / len(branches)
    return 1.0 + (max(wanted.layers) + 1) / card.layers * steps * calls
