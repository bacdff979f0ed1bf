"""An engine without a model: what it does with a job is said by the prompt.

Frames depend on the seed alone, so that every undisturbed run of a job gives the same bytes.
``hold``: waits at its first step until ``release`` was called for the job. ``late``: so at its
last. ``slow``: 50 ms a step. ``oom``, ``bug``, ``crash``, ``refused``: end so. Which processes
ran a job is told by the objects ``pid/{id}/{pid}``.
"""

import os
import time
from collections.abc import Sequence

import numpy as np

from schemas.errors import Unsupported
from schemas.jobs import Job, JobSpec
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe
from storage.objects.objects import ObjectMissing, ObjectStore
from workers.control.engine_protocol import (
    AnalysedAttention,
    OnFrames,
    OnPreview,
    OnStep,
    RenderedVideo,
)
from workers.settings import WorkerSettings

CARD = ModelCard(
    id="scripted",
    family="none",
    fingerprint="f" * 64,
    revision="1",
    dtype="float32",
    licence="apache-2.0",
    default_size="32x32",
    width_range=IntRange(minimum=32, maximum=32, default=32),
    height_range=IntRange(minimum=32, maximum=32, default=32),
    max_pixels=1024,
    num_frames=IntRange(minimum=5, maximum=5, default=5),
    num_inference_steps=IntRange(minimum=1, maximum=1000, default=4),
    fps=IntRange(minimum=8, maximum=8, default=8),
    guidance_scale=1.0,
    layers=1,
    heads=1,
    width=8,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
    latent_channels=4,
)


class ScriptedEngine:
    def __init__(self, settings: WorkerSettings, objects: ObjectStore) -> None:
        self._objects = objects
        self._held: list[str] = []

    def cards(self) -> Sequence[ModelCard]:
        return [CARD]

    def loaded_models(self) -> list[str]:
        return [CARD.id]

    def held_sources(self) -> list[str]:
        return self._held

    def check_health(self) -> None:
        pass

    def free_memory(self) -> None:
        pass

    def forget(self, spec: JobSpec) -> None:
        pass

    def render(
        self,
        job: Job,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        on_frames: OnFrames | None = None,
    ) -> RenderedVideo:
        generation = job.spec.recipe.generation
        prompt, total = generation.prompt, generation.num_inference_steps
        self._objects.put(f"pid/{job.spec.id}/{os.getpid()}", b"")
        if job.spec.edit_source_key:
            self._held.append(job.spec.edit_source_key)
        for step in range(1, total + 1):
            if (step == 1 and "hold" in prompt) or (step == total and "late" in prompt):
                self._wait(job.spec.id, on_step, step, total)
            if "slow" in prompt:
                time.sleep(0.05)
            on_step(step, total)
        end_as(prompt)
        frames = frames_of(generation.seed)
        if on_frames is not None:
            on_frames(lambda: frames[:1], True)
            on_frames(lambda: frames[1:], False)
        return RenderedVideo(frames)

    def draw(self, job: Job, on_step: OnStep) -> bytes:
        """What ``render`` would do with the job, and a line that says what was looked at."""
        self.render(job, on_step)
        assert job.spec.look is not None
        return job.spec.look.view.model_dump_json().encode()

    def analyse(self, job: Job, on_step: OnStep) -> AnalysedAttention:
        """What ``render`` would do with the job, and files that say for which kind."""
        on_step(0, 1)
        self.render(job, on_step)
        assert job.spec.analysis is not None
        kind = job.spec.analysis.kind.encode()
        return AnalysedAttention(kind, {"maps": b"PNG of " + kind}, b"page of " + kind, (0,))

    def _wait(self, video_id: str, on_step: OnStep, step: int, total: int) -> None:
        while True:
            try:
                self._objects.size(f"release/{video_id}")
                return
            except ObjectMissing:
                on_step(step, total)
                time.sleep(0.02)


def end_as(prompt: str) -> None:
    if "oom" in prompt:
        import torch  # only here: a replica without it is up a second sooner

        torch.empty(1 << 55)
    if "bug" in prompt:
        raise ZeroDivisionError("/a/path of ours")
    if "crash" in prompt:
        os._exit(3)
    if "refused" in prompt:
        raise Unsupported("as asked", param="prompt")


def frames_of(seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(seed).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)


def spec_of(number: int, prompt: str = "", *, steps: int = 4, source: int | None = None) -> JobSpec:
    """A job for the engine above; ``source``: the seed of the video that it edits."""

    def recipe(seed: int, text: str, of: Recipe | None = None) -> Recipe:
        return Recipe(
            generation=Generation(
                model=CARD.id,
                fingerprint=CARD.fingerprint,
                prompt=text,
                negative_prompt="",
                seed=seed,
                width=32,
                height=32,
                num_frames=5,
                num_inference_steps=steps,
                guidance_scale=1.0,
                fps=8,
            ),
            source=of,
        )

    of = None if source is None else recipe(source, "")
    whole = recipe(number, prompt, of)
    return JobSpec(
        id=f"video_{number:08d}",
        project="tests",
        recipe=whole,
        source_key=whole.key("tests"),
        edit_source_key=of.key("tests") if of else None,
        created_at=1_700_000_000,
    )
