"""A job's previews: a small JPEG of its middle latent frame, every so many steps.

They are a courtesy: whatever goes wrong here ends the previews, never the job. What they read of a
run they copy, and write to nothing of it.
"""

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from schemas.jobs import JobSpec
from workers.generation.denoise import OnStep, StepInfo
from workers.models.pipelines import LoadedModel
from workers.models.vae_space import film_latents, vae_shape
from workers.previews.latent_rgb import LatentRgb, fit_colours
from workers.previews.latents import vae_latents
from workers.previews.x0_prediction import AS_THEY_ARE, held_estimate, weights_of

log = logging.getLogger("retake.worker")

LONG_SIDE = 256  # pixels
_QUALITY = 80


class Previewer:
    """One run's. ``every``: steps from one preview to the next."""

    def __init__(self, model: LoadedModel, colours: LatentRgb, spec: JobSpec, every: int) -> None:
        self._model, self._colours, self._every = model, colours, every
        self._id, self._generation = spec.id, spec.recipe.generation
        self._shape = vae_shape(model.card.grid, self._generation)
        self._before: tuple[int, Tensor] | None = None  # a step, and the frame behind it
        self._over = False

    def after_step(self, info: StepInfo) -> bytes | None:
        """The preview of this step, where one is due. Called after every step."""
        if self._over or not info.own:
            return None
        try:
            return self._after_step(info)
        except Exception:  # the previews' boundary: the film goes on without them
            log.warning("job=%s previews given up", self._id, exc_info=True)
            self._over = True
            return None

    def _after_step(self, info: StepInfo) -> bytes | None:
        due = (info.step + 1) % self._every == 0
        if not due and (info.step + 2) % self._every:
            return None
        scheduler: Any = self._model.pipeline.scheduler
        estimate = held_estimate(scheduler)
        if estimate is not None:
            return self._picture(self._middle(estimate)) if due else None
        frame = self._middle(info.latents)
        before, self._before = self._before, (info.step, frame)
        if not due:
            return None
        weights = weights_of(scheduler, info.step) or AS_THEY_ARE
        if before is not None and before[0] == info.step - 1:
            frame = weights.before * before[1] + weights.after * frame
        return self._picture(frame)

    def _middle(self, latents: Tensor) -> Tensor:
        """The last row's middle frame (C, H, W), fp32 on the CPU; a copy."""
        grid = self._model.card.grid
        film = film_latents(self._model.family, latents, grid.patch, self._shape)
        return film[:, self._shape[0] // 2].to("cpu", torch.float32, copy=True)

    def _picture(self, frame: Tensor) -> bytes:
        latents = vae_latents(self._model.pipeline, frame, self._shape[0] // 2)
        pixels = (self._colours(latents).clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8)
        return encode_jpeg(pixels, self._generation.width, self._generation.height)


def encode_jpeg(pixels: NDArray[np.uint8], width: int, height: int) -> bytes:
    """``pixels`` (h, w, 3), stretched to the shape of a ``width``x``height`` film: as large as
    that, or with a long side of ``LONG_SIDE`` where the film's is longer."""
    factor = min(1.0, LONG_SIDE / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    output = io.BytesIO()
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    picture.save(output, "JPEG", quality=_QUALITY)
    return output.getvalue()


class Previews:
    """Of one process. A model's colours are fitted when a job first asks for previews, and kept
    when the model makes room for another."""

    def __init__(self) -> None:
        self._colours: dict[str, LatentRgb | None] = {}  # by model id; None: it gave none

    def of(self, model: LoadedModel, spec: JobSpec) -> Previewer | None:
        """The previewer of a job that is about to run; None: it asks for none, or the model's
        VAE gave no colours."""
        if spec.preview_every is None or not model.card.supports_preview:
            return None
        if model.card.id not in self._colours:
            self._colours[model.card.id] = _fit(model, spec)
        colours = self._colours[model.card.id]
        return None if colours is None else Previewer(model, colours, spec, spec.preview_every)

    def behind_steps(
        self,
        model: LoadedModel,
        spec: JobSpec,
        on_step: Callable[[int, int], None],
        on_preview: Callable[[int, int, bytes], None] | None,
    ) -> OnStep:
        """What a run calls behind each step: ``on_step``, then ``on_preview`` where one is due."""
        previewer = self.of(model, spec)

        def after_step(info: StepInfo) -> None:
            done = info.steps_before + info.step + 1
            total = info.steps_before + info.total + info.steps_behind
            on_step(done, total)
            if previewer is None or on_preview is None:
                return
            jpeg = previewer.after_step(info)
            if jpeg is not None:
                on_preview(done, total, jpeg)

        return after_step


def _fit(model: LoadedModel, spec: JobSpec) -> LatentRgb | None:
    try:
        model.family.configure(
            model.pipeline, spec.recipe.generation
        )  # Allegro's VAE is told to tile
        return fit_colours(model.family, model.pipeline)
    except Exception:  # as above
        log.exception("model %s makes no previews", model.card.id)
        return None
