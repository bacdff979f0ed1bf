"""What a worker's control loop asks of the engine that it runs jobs with. No torch here."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.jobs import AttentionOrigin, EditMetrics, Job, JobSpec
from schemas.models import ModelCard

OnStep = Callable[[int, int], None]
OnPreview = Callable[[int, int, bytes], None]
PendingFrames = Callable[[], NDArray[np.uint8]]  # (F, H, W, 3) RGB, once they are on the host
OnFrames = Callable[[PendingFrames, bool], None]


class CapturedAttention(Protocol):
    """Attention that was captured and is not yet visible to anyone.

    ``failure``: why it cannot be kept, in words for the client; None: so far it can.
    """

    failure: str | None

    def publish(self) -> str | None:
        """Write the manifest; its key. None: it could not be kept, and the video goes without."""

    def discard(self) -> None: ...


class RenderedVideo(NamedTuple):
    """What a job's denoising gave. ``frames``: (F, H, W, 3) uint8 RGB. ``cost``: passes of the
    transformer over those of a plain generation. ``not_captured``: why there is nothing
    ``captured`` of a job that was to keep its attention. ``seconds``: of its phases, as far as
    known. ``prompt_truncated``: the model did not read all of the
    prompt. ``sound``: samples as ``storage.films.sound`` makes them, from the first frame on.
    ``region``: of an edit that was kept to one, how much of it is where: (F, H, W) uint8, or
    (1, H, W) for all frames. ``metrics``: of an edit."""

    frames: NDArray[np.uint8]
    attention: AttentionOrigin = "none"
    captured: CapturedAttention | None = None
    cost: float | None = None
    seconds: Mapping[str, float] = MappingProxyType({})
    not_captured: str | None = None
    prompt_truncated: bool = False
    sound: bytes | None = None
    region: NDArray[np.uint8] | None = None
    metrics: EditMetrics | None = None


class AnalysedAttention(NamedTuple):
    """What an analysis found. ``result``: JSON. ``figures``: PNGs by name. ``report``: one HTML
    page. ``stored_sources``: which of its sources were read from stored attention, not run."""

    result: bytes
    figures: Mapping[str, bytes]
    report: bytes
    stored_sources: tuple[int, ...] = ()


class Engine(Protocol):
    """The part of a worker that holds models. ``render`` is called from one thread at a time."""

    def cards(self) -> Sequence[ModelCard]:
        """The models that it can run."""

    def loaded_models(self) -> list[str]:
        """The ids of those that need not be loaded first."""

    def held_sources(self) -> list[str]:
        """The keys of sources whose tensors are at hand here."""

    def check_health(self) -> None:
        """Raise if only a new process can run another job."""

    def render(
        self,
        job: Job,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        on_frames: OnFrames | None = None,
    ) -> RenderedVideo:
        """Run the job; ``on_step(done, total)`` after each step. Raises what stops the job.

        ``on_preview(done, total, jpeg)`` behind the steps for which the job asks for a picture.
        ``on_frames(frames, first)``, where the model allows, for each piece of a video as soon as
        it is decoded; of whatever video the job decodes, ``first`` with the first piece of each.
        """

    def draw(self, job: Job, on_step: OnStep) -> bytes:
        """The PNG that a map job asks for; otherwise as ``render``."""

    def analyse(self, job: Job, on_step: OnStep) -> AnalysedAttention:
        """What an analysis asks for; otherwise as ``render``. ``on_step`` may hear of 0 steps."""

    def forget(self, spec: JobSpec) -> None:
        """Drop what was kept to take the job up again: it has ended. Raises ObjectStoreError."""

    def free_memory(self) -> None:
        """Give back what a failed job left behind."""
