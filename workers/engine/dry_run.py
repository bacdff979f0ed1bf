"""A model's first video, when it is loaded: what a user's job would stop at is found here.

The smallest video in four steps, with all its attention looked at and nothing kept. A scheduler
that calls the transformer twice a step (Heun), a guider that stops early, noise that no seed
decides, numbers that overflow: none of it is written in a configuration in a way that could be
read, all of it shows in a run.
"""

import logging
from contextlib import ExitStack
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from schemas.attention import CaptureSpec
from schemas.capture_plan import CapturePlan
from schemas.errors import AttentionMissed, RetakeError
from schemas.recipes import Generation, Picture, Recipe, pixels_hash
from schemas.resolve_capture import resolve_capture
from workers.attention.maps import Address
from workers.attention.transfer import Capture
from workers.control.failure_policy import is_out_of_memory
from workers.generation.denoise import denoise
from workers.models.pipelines import FAULTS, LoadedModel, ModelLoadError

log = logging.getLogger("retake.pipelines")
STEPS = 4
PROMPT = "a dry run"


def dry_run(model: LoadedModel) -> str | None:
    """Make a video of the smallest size, else of the default one.

    Why attention can be neither kept nor put in; None: it can. Raises ModelLoadError.
    """
    if model.group is not None:
        return None  # the other ranks load their models in their own time
    smallest, default = generation_of(model, smallest=True), generation_of(model)
    try:
        return _run(model, smallest)
    except (*FAULTS, RetakeError) as error:
        if smallest == default:
            raise _refused(model, error) from error
        log.info("model %s makes no video of the smallest size: %s", model.card.id, error)
    try:
        return _run(model, default)
    except (*FAULTS, RetakeError) as error:
        if is_out_of_memory(error):
            log.warning("model %s: no memory for a dry run", model.card.id)
            return None
        raise _refused(model, error) from error


def _refused(model: LoadedModel, error: Exception) -> ModelLoadError:
    return ModelLoadError(f"model {model.card.id!r} loads, but makes no video: {error}")


def generation_of(model: LoadedModel, *, smallest: bool = False, steps: int = STEPS) -> Generation:
    """A few steps at the card's defaults, or of the fewest pixels and frames."""
    card = model.card
    allowed = card.num_inference_steps
    width, height = (int(side) for side in card.default_size.split("x"))
    frames = card.num_frames.default
    if smallest:
        width, height = card.width_range.minimum, card.height_range.minimum
        frames = card.num_frames.minimum
    return Generation(
        model=card.id,
        fingerprint=card.fingerprint,
        prompt=PROMPT,
        negative_prompt=card.negative_prompt,
        seed=0,
        width=width,
        height=height,
        num_frames=frames,
        num_inference_steps=min(max(steps, allowed.minimum), allowed.maximum),
        guidance_scale=card.guidance_scale,
        fps=card.fps.default,
        frame_rate=card.fps.default if card.told_fps else None,
        picture=_grey(model, width, height) if "image" in card.required_inputs else None,
    )


def _grey(model: LoadedModel, width: int, height: int) -> Picture:
    """Something to start from, where a model needs that; ``model`` has it from here on."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    name = pixels_hash(width, height, image.tobytes())
    model.pictures[name] = image
    return Picture(sha256=name)


def _run(model: LoadedModel, generation: Generation) -> str | None:
    """Raises what a job would."""
    recipe = Recipe(generation=generation)
    before = _global_generators(model)
    with ExitStack() as eager:
        if model.settings.compile != "none":  # nobody asks for this size again
            eager.enter_context(torch.compiler.set_stance("force_eager"))
        refusal = _watched(model, recipe) if model.card.supports_transfer else None
        if refusal is not None or not model.card.supports_transfer:
            denoise(model, [recipe], (None,), None, None)
    after = _global_generators(model)
    if any(not torch.equal(one, other) for one, other in zip(before, after, strict=True)):
        scheduler = type(model.pipeline.scheduler).__name__
        raise ModelLoadError(
            f"model {model.card.id!r}: noise is drawn that no seed decides ({scheduler}): one "
            "recipe would give another video each time"
        )
    return refusal


def _watched(model: LoadedModel, recipe: Recipe) -> str | None:
    """Why the attention of a run cannot be kept, if so."""
    reason = model.family.irregular(model.pipeline)
    if reason is not None:
        return reason
    spec = CaptureSpec(form="hidden", codec="raw", scope="everything")
    plan: CapturePlan = resolve_capture(spec, model.card, recipe)
    try:
        denoise(model, [recipe], (None,), Capture(plan, _Nowhere()), None)
    except AttentionMissed as error:
        scheduler = type(model.pipeline.scheduler).__name__
        return f"its steps are not those of its settings (scheduler {scheduler}): {error.message}"
    return None


class _Nowhere:
    """A MapSink that keeps nothing."""

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        pass


def _global_generators(model: LoadedModel) -> list[Tensor]:
    """The states of torch's own generators, which every draw without a generator moves on."""
    states: list[Any] = [torch.random.get_rng_state()]
    device = torch.device(model.pipeline._execution_device)
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states
