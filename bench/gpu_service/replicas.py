"""Replicas of the bundled model, one GPU each: videos a second, and each other's artifacts.

The stacks are started one after the other on one folder, so each edits what the first one stored.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.gpu_service.service import Service, open_service
from retake.client import Json

PROMPT = "A car is driving on the highway."
CHANGED = "A red car is driving on the highway."
# all that edits without an anchor read: their own maps then replace every map of the run
EVERYTHING: Json = {"scope": "everything", "form": "hidden"}
WHOLE: Json = {"anchor": None}
Say = Callable[[Mapping[str, float]], None]


def measure_replicas(
    folder: Path, counts: list[int], say: Say, *, gpus: int, videos: int, steps: int
) -> None:
    """``videos``: how many each replica makes, behind two to warm up.

    ``own_maps``: the largest difference of any pixel between the first stack's video and what
    this stack makes of it with its own maps put back. ``same_seed``: or by the same request.
    """
    source, first = "", None
    for replicas in counts:
        with open_service(folder, gpus=gpus, replicas=replicas) as service:
            source = source or service.make(body_of(0, steps, EVERYTHING)).id
            again = service.make(body_of(0, steps, False)).id
            say(
                {
                    f"replicas_{replicas}_own_maps": own_maps_difference(service, source),
                    f"replicas_{replicas}_same_seed": difference(
                        service.frames(again), service.frames(source)
                    ),
                }
            )
            rates = _rates(service, replicas, videos, steps)
        say({f"{name}_per_second_{replicas}": rate for name, rate in rates.items()})
        if first is None:
            first = rates
        elif counts[0] == 1:
            say({f"scaling_{replicas}": rates["videos"] / first["videos"]})
            say({f"scaling_edits_{replicas}": rates["edits"] / first["edits"]})


def body_of(seed: int, steps: int, capture: object = True) -> Json:
    return {"prompt": PROMPT, "seed": seed, "num_inference_steps": steps, "capture": capture}


def own_maps_difference(
    service: Service, source: str, transfers: Sequence[Json | None] = (WHOLE, None)
) -> float:
    """Of the source and its edits with its own prompt: None is anchored, WHOLE the paper's way.

    WHOLE computes all of a second generation with the source's maps; the anchored one follows its
    source by rule. RuntimeError if an edit did not come from stored attention.
    """
    largest = 0.0
    for transfer in transfers:
        body: Json = {"prompt": PROMPT, "capture": False}
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


def _rates(service: Service, replicas: int, videos: int, steps: int) -> dict[str, float]:
    """A second, of generations that keep their attention, and of edits of those."""
    count = replicas * (videos + 2)
    first = 1000 * replicas  # seeds that no other stack has made
    made = service.rate([body_of(first + number, steps) for number in range(count)])
    edits = service.rate([{"prompt": CHANGED, "capture": False}] * count, made.ids)
    return {"videos": made.per_second, "edits": edits.per_second}
