"""Replicas of the bundled model, one GPU each: videos a second, and each other's artifacts.

The stacks are started one after the other on one folder, so each edits what the first one stored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.gpu_service.service import Service, open_service
from retake.client import Json

PROMPT = "A car is driving on the highway."
CHANGED = "A red car is driving on the highway."
# all that edits without an anchor read: their own maps then replace every map of the run
EVERYTHING: Json = {"scope": "everything", "form": "hidden"}
WHOLE: Json = {"anchor": None}


class Rates(NamedTuple):
    """Videos a second of one stack: generations that keep their attention, and edits of those."""

    replicas: int
    generations: float
    edits: float


def measure_replicas(
    folder: Path, counts: list[int], *, gpus: int, videos: int, steps: int
) -> tuple[list[Rates], dict[str, float]]:
    """``videos``: how many each replica makes, behind two to warm up.

    ``own_maps``: the largest difference of any pixel between the first stack's video and what
    the stacks of every size make of it with its own maps put back.
    """
    rates, own_maps, again = [], 0.0, 0.0
    source, reference = "", None
    for replicas in counts:
        with open_service(folder, gpus=gpus, replicas=replicas) as service:
            if not source:
                source = service.make(body_of(0, steps, EVERYTHING)).id
                reference = service.frames(source)
            own_maps = max(own_maps, own_maps_difference(service, source))
            same = service.make(body_of(0, steps, False)).id
            again = max(again, difference(service.frames(same), reference))
            rates.append(_rates(service, replicas, videos, steps))
    return rates, {"own_maps": own_maps, "same_seed": again}


def body_of(seed: int, steps: int, capture: object = True) -> Json:
    return {"prompt": PROMPT, "seed": seed, "num_inference_steps": steps, "capture": capture}


def own_maps_difference(
    service: Service, source: str, transfers: Sequence[Json | None] = (WHOLE, None)
) -> float:
    """Of the source and its edits with its own prompt: None is anchored, WHOLE the paper's way.

    A space behind the prompt makes it another recipe with the same tokens. RuntimeError if an edit
    did not come from stored attention.
    """
    largest = 0.0
    for transfer in transfers:
        body: Json = {"prompt": f"{PROMPT} ", "capture": False}
        if transfer is not None:
            body["transfer"] = transfer
        edit = service.make(body, remix=source)
        if edit.video["attention"] != "stored":
            raise RuntimeError(f"edit {edit.id} was {edit.video['attention']}, not stored")
        largest = max(largest, difference(service.frames(edit.id), service.frames(source)))
    return largest


def difference(video: object, other: object) -> float:
    """The largest of any pixel, of 255."""
    return float(np.abs(np.asarray(video, np.int16) - np.asarray(other, np.int16)).max())


def _rates(service: Service, replicas: int, videos: int, steps: int) -> Rates:
    count = replicas * (videos + 2)
    first = 1000 * replicas  # seeds that no other stack has made
    made = service.rate([body_of(first + number, steps) for number in range(count)])
    edits = service.rate([{"prompt": CHANGED, "capture": False}] * count, made.ids)
    return Rates(replicas, made.per_second, edits.per_second)
