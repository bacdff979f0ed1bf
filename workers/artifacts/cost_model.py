"""Loading or rerunning: which of a source's artifacts makes an edit soonest, by measurement.

Hidden states and queries are loaded beside the denoising and cost nothing until they take longer
than it; latents are hardly loaded, but the source's layers run again. Which wins depends on the
store's bandwidth and the model's speed, so both are measured in every capture and edit of this
worker. Until then the order of ``PREFERENCE`` holds.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

from schemas.artifacts import Manifest
from schemas.attention import Form
from schemas.capture_plan import Needed
from schemas.recipes import Generation
from workers.artifacts.read.plan import is_wanted

# hidden needs no layer rerun, and half the bytes of q and k
PREFERENCE: tuple[Form, ...] = ("hidden", "qk", "latents", "dense")
_WEIGHT = 0.3  # of a new measurement against all before it

Shape = tuple[str, int, int, int, bool]


def shape_of(generation: Generation) -> Shape:
    """What a step's time depends on."""
    return (
        generation.fingerprint,
        generation.width,
        generation.height,
        generation.num_frames,
        generation.guidance_scale > 1,
    )


class CostModel:
    """Seconds per step by shape, and the bytes per second that reads have had. Thread-safe."""

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._step_s: dict[Shape, float] = {}
        self._lock = threading.Lock()

    def step_s(self, generation: Generation) -> float | None:
        return self._step_s.get(shape_of(generation))

    def note_step(self, generation: Generation, seconds: float) -> None:
        with self._lock:
            shape = shape_of(generation)
            self._step_s[shape] = _mean(self._step_s.get(shape), seconds)

    def note_read(self, size: int, seconds: float) -> None:
        with self._lock:
            self.bytes_per_s = _mean(self.bytes_per_s, size / max(seconds, 1e-6))


class StepClock:
    """Times the steps of one run by the calls it makes, without what it waited in them."""

    def __init__(self, costs: CostModel, generation: Generation) -> None:
        self._costs, self._generation = costs, generation
        self._step: int | None = None
        self._began = self._waited = 0.0

    def at(self, step: int) -> None:
        """A call of this step; the first of a later step ends the ones before."""
        if self._step is not None and step <= self._step:
            return
        now = time.monotonic()
        if self._step is not None:
            taken = now - self._began - self._waited
            self._costs.note_step(self._generation, taken / (step - self._step))
        self._step, self._began, self._waited = step, now, 0.0

    def add_wait(self, seconds: float) -> None:
        self._waited += seconds


class ThroughputMeter:
    """Measures what several threads read together: bytes over the time in which any read."""

    def __init__(self, costs: CostModel) -> None:
        self._costs = costs
        self._lock = threading.Lock()
        self._reading = self._bytes = 0
        self._began = 0.0

    @contextlib.contextmanager
    def moving(self, size: int) -> Iterator[None]:
        with self._lock:
            if self._reading == 0:
                self._began, self._bytes = time.monotonic(), 0
            self._reading += 1
        try:
            yield
        finally:
            with self._lock:
                self._reading -= 1
                self._bytes += size
                if self._reading == 0:
                    self._costs.note_read(self._bytes, time.monotonic() - self._began)


def soonest(manifests: Sequence[Manifest], needed: Needed, costs: CostModel) -> Manifest:
    """The one of ``manifests``, all of one source, that an edit is best made from."""

    def order(manifest: Manifest) -> tuple[float, int, int]:
        seconds = expected_s(manifest, needed, costs)
        preference = PREFERENCE.index(manifest.form)
        return seconds or 0.0, preference, manifest.stored_bytes

    return min(manifests, key=order)


def expected_s(manifest: Manifest, needed: Needed, costs: CostModel) -> float | None:
    """Seconds of an edit's denoising from ``manifest``; None while too little was measured."""
    generation = manifest.recipe.generation
    step_s, bandwidth = costs.step_s(generation), costs.bytes_per_s
    if step_s is None or bandwidth is None:
        return None
    plain_s = step_s * generation.num_inference_steps
    layers = max(manifest.recomputed_layers(needed), default=0) / len(manifest.layers)
    steps = len(needed.steps) / generation.num_inference_steps
    branches = len(needed.branches) / len(manifest.branches)
    computing_s = plain_s * (1 + layers * steps * branches * needed.passes)
    if needed.outputs:  # an anchored edit: one branch of some steps
        share = len(needed.computed_steps) / generation.num_inference_steps
        computing_s = plain_s * share * branches * (1 + layers)
    return max(computing_s, needed.passes * read_bytes(manifest, needed) / bandwidth)


def read_bytes(manifest: Manifest, needed: Needed) -> int:
    return sum(
        frame.size
        for pack in manifest.packs
        for frame in pack.frames
        if is_wanted(frame, manifest, needed)
    )


def _mean(before: float | None, now: float) -> float:
    return now if before is None else (1 - _WEIGHT) * before + _WEIGHT * now
