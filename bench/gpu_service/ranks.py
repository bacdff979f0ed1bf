"""One replica of several ranks: captures in every form, edits, and a rank killed in the middle."""

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from bench.gpu_service.replicas import (
    CHANGED,
    EVERYTHING,
    body_of,
    difference,
    own_maps_difference,
)
from bench.gpu_service.service import Service, open_service
from bench.processes import processes
from workers.settings import BUNDLED

RANK = "ray::Rank"  # the processes beside the replica's own, which is rank 0
KILLED_STEPS = 100  # the most that the bundled model takes


class RankFigures(NamedTuple):
    """``own_maps``: as of replicas. ``forms``: those whose captures gave edits from stored maps.

    ``recovered_s``: from the kill of a rank to the end of its video, which a new replica makes.
    ``killed_difference``: of that video and the same one made undisturbed.
    """

    ranks: int
    step_s: float
    own_maps: float
    forms: int
    recovered_s: float
    killed_difference: float


def measure_ranks(folder: Path, ranks: int, *, gpus: int, steps: int) -> RankFigures:
    """With the bundled model, whose steps are too short to gain by it: see ``real_size``."""
    model = BUNDLED.model_copy(update={"ranks": ranks})
    with open_service(folder, gpus=gpus, models=[model]) as service:
        source = service.make(body_of(0, steps, EVERYTHING))
        own_maps = own_maps_difference(service, source.id)
        forms = sum(_edited(service, form, steps) for form in ("hidden", "qk", "latents"))
        step_s = service.step_times(source.id).step
        recovered_s, killed = _killed(service, min(KILLED_STEPS, 5 * steps))
    return RankFigures(ranks, step_s, own_maps, forms, recovered_s, killed)


def _edited(service: Service, form: str, steps: int) -> bool:
    """Whether an edit of a source that was captured so took its stored maps."""
    source = service.make(body_of(1, steps, {"form": form}))
    edit = service.make({"prompt": CHANGED}, remix=source.id)
    return bool(edit.video["attention"] == "stored")


def _killed(service: Service, steps: int) -> tuple[float, float]:
    """Kill a rank behind the second step of a video; RuntimeError if none was there to kill."""
    body = body_of(2, steps, False)
    victim = service.send(body)
    killed_at = 0.0
    for kind, data in service.client.events(victim):
        if not killed_at and kind == "progress" and data.get("step", 0) >= 2:
            os.kill(processes(RANK)[0], signal.SIGKILL)
            killed_at = time.perf_counter()
    recovered_s = time.perf_counter() - killed_at
    service.completed(victim)
    if not killed_at or service.attempts(victim) < 2:
        raise RuntimeError("the video ended before its rank was killed")
    again = service.make(body)
    return recovered_s, difference(service.frames(victim), service.frames(again.id))
