"""One run of a model, measured: its latents, its time a step, its memory."""

import resource
import time
from typing import NamedTuple

import torch
from torch import Tensor

from schemas.attention import CaptureSpec, Form, TransferSpec
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.pixels import Frames
from workers.generation.denoise import StepInfo
from workers.generation.generate import generate
from workers.models.pipelines import LoadedModel


class Measured(NamedTuple):
    """``latents``: of the video, after its last step. ``step_s``: of a step behind the first, which
    loads and compiles; ``rest_s``: before the first and behind the last, encoding and decoding.
    ``passes``: of the transformer over one video and branch."""

    frames: Frames
    latents: Tensor
    step_s: float
    rest_s: float
    peak_bytes: int
    passes: float


def measure(
    model: LoadedModel,
    recipe: Recipe,
    *,
    stored: StoredAttention | None = None,
    capture: Capture | None = None,
) -> Measured:
    """Run ``recipe``. Raises what ``generate`` does."""
    kept: list[Tensor] = []
    ends: list[float] = []

    def after_step(info: StepInfo) -> None:
        kept[:] = [info.latents[-1:].clone()]
        _finish()
        ends.append(time.monotonic())

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    resolved = resolve_recipe(recipe, model.card)
    made = generate(model, resolved, stored=stored, capture=capture, on_step=after_step)
    _finish()
    step_s = (ends[-1] - ends[0]) / max(1, len(ends) - 1)
    whole = time.monotonic() - began
    return Measured(
        frames=made.frames,
        latents=kept[0],
        step_s=step_s,
        rest_s=max(0.0, whole - step_s * len(ends)),
        peak_bytes=peak_bytes(),
        passes=made.passes,
    )


def kept_of(model: LoadedModel, recipe: Recipe, form: Form) -> tuple[StoredAttention, Measured]:
    """Run ``recipe`` and keep all its attention in memory."""
    spec = CaptureSpec(form=form, codec="raw", scope="everything")
    plan, maps = resolve_capture(spec, model.card, recipe), MemoryMaps()
    measured = measure(model, recipe, capture=Capture(plan, maps))
    return StoredAttention(plan, maps), measured


def own_maps_difference(model: LoadedModel, generation: Generation, form: Form) -> float:
    """The largest difference that a run's own maps make to its latents: 0, or it is wrong."""
    source = Recipe(generation=generation)
    plain = measure(model, source)
    stored, captured = kept_of(model, source, form)
    own = Recipe(generation=generation, source=source, transfer=TransferSpec())
    again = measure(model, own, stored=stored)
    return max(_distance(captured.latents, plain.latents), _distance(again.latents, plain.latents))


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


def peak_bytes() -> int:
    """The most memory that was in use: of the GPU, or of this process where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _finish() -> None:
    """Kernels are only queued: wait for them before the clock is read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
