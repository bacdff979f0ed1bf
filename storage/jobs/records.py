"""The values that callers of the job store hold, and how they are read from Redis' replies."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.base import Frozen
from schemas.errors import JobCancelled, JobFailed, NotFound
from schemas.jobs import (
    AnalysisFiles,
    Event,
    Job,
    JobError,
    JobResult,
    JobSpec,
    JobState,
    MapResult,
)

CANCELLED = JobError(code=JobCancelled.code, message="the job was cancelled")
WORKER_LOST = JobError(
    code=JobFailed.code,
    message="every worker that took the job stopped before it was finished",
)

START_TIMEOUT = JobError(
    code="start_timeout", message="no worker took the job up within its start_timeout_s"
)

_SPECS_KEPT = 512  # parsed; a few kB each
EVENT_TTL_S = 3600  # how long the events of an ended job can be read

# The fields of a state that are kept as JSON; the others are plain text
_JSON: dict[str, type[Frozen]] = {
    "result": JobResult,
    "map": MapResult,
    "analysis": AnalysisFiles,
    "error": JobError,
}
_PLAIN = {name.encode(): name for name in JobState.model_fields if name not in _JSON}


class LeaseLost(Exception):
    """The job is another claim's, deleted or ended: stop, and write nothing more."""


class Claim(NamedTuple):
    """The right to write to a job until another claim is made. ``fence`` goes into object keys."""

    job: Job
    fence: int
    worker: str


class Delivery(NamedTuple):
    """An entry of a queue that a dispatcher holds.

    ``stream``: the job's priority. ``entry_id``: unique over all queues, which a stream's own id
    is not: two streams give the same one to entries of the same millisecond.
    """

    video_id: str
    stream: str
    entry_id: str
    spec: JobSpec

    @property
    def place(self) -> tuple[str, str]:
        """The priority and the id within its stream."""
        return self.stream, self.entry_id.removeprefix(f"{self.stream}/")


class DeadLetter(NamedTuple):
    """A job that ran out of attempts; ``at``: Unix seconds."""

    video_id: str
    at: float
    error: JobError


def spec_json(spec: JobSpec) -> str:
    """A spec as it is kept: without the fields that have their default.

    During a rollout both versions read the queue. The older one refuses only jobs that use a
    field that it does not know, rather than run half of them.
    """
    return spec.model_dump_json(exclude_defaults=True)


def job_of(flat: Sequence[bytes]) -> Job:
    """A job from a script's reply, in which names and values alternate."""
    return job_from(dict(zip(flat[::2], flat[1::2], strict=True)))


def job_from(record: Mapping[bytes, bytes]) -> Job:
    """A job from its hash."""
    values: dict[str, Any] = {
        name: record[field].decode() for field, name in _PLAIN.items() if field in record
    }
    for name, model in _JSON.items():
        if value := record.get(name.encode()):
            values[name] = model.model_validate_json(value)
    return Job(spec=_spec_of(record[b"spec"]), state=JobState.model_validate(values))


@lru_cache(maxsize=_SPECS_KEPT)
def _spec_of(text: bytes) -> JobSpec:
    """A spec never changes, and a job that is polled is read again and again."""
    return JobSpec.model_validate_json(text)


def delivery_of(reply: Sequence[bytes]) -> Delivery:
    """A delivery from a script's {priority, entry, spec}."""
    stream, entry, spec = reply[0].decode(), reply[1].decode(), reply[2]
    parsed = JobSpec.model_validate_json(spec)
    return Delivery(parsed.id, stream, f"{stream}/{entry}", parsed)


def event_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """An event from its stream entry."""
    return Event.model_validate_json(
        b'{"id":"%b","type":"%b","data":%b}' % (entry_id, fields[b"type"], fields[b"data"])
    )


def job_not_found(id: str) -> NotFound:
    """The same error for an id that never existed, was deleted, or is another project's."""
    kind = "analysis" if id.startswith("analysis_") else "video"
    return NotFound(f"no {kind} {id!r}", param=f"{kind}_id")


def artifact_not_found(artifact_id: str) -> NotFound:
    """As ``job_not_found``."""
    return NotFound(f"attention {artifact_id!r} does not exist", param="id")
