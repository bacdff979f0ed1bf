"""Prometheus metrics. No label names a project, a video or anything else without bound."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from redis.asyncio import Redis

from schemas.artifacts import artifact_id
from schemas.errors import NotFound
from service.background.event_streams import EventStreams
from service.background.job_outcome import JobOutcome
from storage.artifact_index import ArtifactIndex
from storage.jobs.maintenance import Maintenance

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
STEP_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOB_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """One registry per application. Gauges are read from Redis at each scrape, and are the same
    from every process; a job's end is counted by the one process that handled it."""

    def __init__(self, jobs: Maintenance, artifacts: ArtifactIndex, streams: EventStreams) -> None:
        self._jobs, self._artifacts, self._streams = jobs, artifacts, streams
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = self._histogram(
            "http_request_duration_seconds", "Time to the end of the answer", REQUEST_S,
            "method", "route", "status",
        )  # fmt: skip
        self._followed = self._gauge("followers", "Event streams and long polls of this process")
        self._waiting = self._gauge("queue_depth", "Jobs that wait", "priority")
        self._running = self._gauge("jobs_running", "Jobs that a worker has claimed")
        self._stored = self._gauge("stored_bytes", "Bytes of all projects", "kind")
        self._wait = self._histogram(
            "job_wait_seconds", "From acceptance to a worker", WAIT_S, "priority"
        )
        self._job = self._histogram(
            "job_duration_seconds", "From worker to end", JOB_S, "model", "kind"
        )
        self._step = self._histogram(
            "step_duration_seconds", "Mean time of a job's steps", STEP_S, "model", "kind"
        )
        self._ended = self._counter("jobs_ended", "Jobs by how they ended", "kind", "outcome")
        self._attention = self._counter(
            "edit_attention", "Edits by where the source's attention came from", "attention"
        )
        self._captured = self._counter("attention_captured", "Artifacts kept", "form")
        self._captured_bytes = self._counter(
            "attention_captured_bytes", "Bytes of the artifacts kept, as stored", "form"
        )
        self._webhooks = self._counter("webhook_attempts", "Webhook deliveries tried", "outcome")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).observe(seconds)

    def webhook(self, outcome: str) -> None:
        self._webhooks.labels(outcome).inc()

    async def count_outcome(self, outcome: JobOutcome) -> None:
        """Count a job that has ended."""
        spec, result = outcome.job.spec, outcome.job.state.result
        model = spec.recipe.generation.model
        self._ended.labels(outcome.kind, outcome.outcome).inc()
        if outcome.started_ms is not None:
            wait_ms = max(0, outcome.started_ms - outcome.queued_ms)
            self._wait.labels(spec.priority).observe(wait_ms / 1000)
            run_ms = max(0, outcome.ended_ms - outcome.started_ms)
            self._job.labels(model, outcome.kind).observe(run_ms / 1000)
        if outcome.step_ms is not None:
            self._step.labels(model, outcome.kind).observe(outcome.step_ms / 1000)
        if result is None:
            return
        if spec.recipe.source is not None:
            self._attention.labels(result.attention).inc()
        if result.artifact_key is not None:
            await self._count_artifact(outcome, result.artifact_key)

    async def _count_artifact(self, outcome: JobOutcome, key: str) -> None:
        spec = outcome.job.spec
        id = artifact_id(spec.source_key, key.rpartition("/")[2].removesuffix(".json"))
        try:
            artifact = await self._artifacts.get(spec.project, id)
        except NotFound:
            return  # it was deleted since
        self._captured.labels(artifact.form).inc()
        self._captured_bytes.labels(artifact.form).inc(artifact.stored_bytes)

    async def exposition(self, redis: Redis, prefix: str) -> bytes:
        """Everything in Prometheus' text format."""
        self._followed.set(len(self._streams))
        for priority, depth in (await self._jobs.queue_depths()).items():
            self._waiting.labels(priority).set(depth)
        self._running.set(await self._jobs.count_running())
        for kind in ("video", "artifact", "analysis"):
            sizes = await redis.hvals(f"{prefix}:{kind}_bytes")
            self._stored.labels(kind).set(sum(map(int, sizes)))
        return generate_latest(self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"retake_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"retake_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"retake_{name}", text, labels, registry=self.registry)
