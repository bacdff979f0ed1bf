"""OpenTelemetry: one trace from the request for a video to the end of its job.

FastAPI creates the request's span, whose W3C ``traceparent`` goes into the job's record. When the
job has ended, its time in the queue and on a worker are added to the same trace, from its events.
"""

from fastapi import Request
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.background.job_outcome import JobOutcome

PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """``endpoint``: where spans are sent by OTLP over HTTP. None: nothing is traced, and the
    client's ``traceparent`` is passed on unchanged."""

    def __init__(self, endpoint: str | None) -> None:
        self.provider: TracerProvider | None = None
        if endpoint is None:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self.provider = TracerProvider(resource=Resource.create({"service.name": "retake-api"}))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))

    @property
    def config(self) -> TelemetryConfig:
        """FastAPI's settings: spans of requests only; metrics and logs are made elsewhere."""
        return {
            "tracing": self.provider is not None,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "tracer_provider": self.provider,
        }

    def traceparent(self, request: Request) -> str | None:
        """The request's place in its trace, for the job's record."""
        carrier: dict[str, str] = {}
        if self.provider is not None:
            PROPAGATOR.inject(carrier)
        else:
            # parsed and written again, so that only a valid one is passed on
            PROPAGATOR.inject(carrier, PROPAGATOR.extract(dict(request.headers)))
        return carrier.get("traceparent")

    def trace_id(self) -> str | None:
        """The id of the current span's trace."""
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    async def trace_outcome(self, outcome: JobOutcome) -> None:
        """Add a job's time in the queue and on a worker to the trace of its request."""
        spec, state = outcome.job.spec, outcome.job.state
        if self.provider is None or spec.traceparent is None:
            return
        parent = PROPAGATOR.extract({"traceparent": spec.traceparent})
        tracer = self.provider.get_tracer("retake")
        taken_ms = outcome.started_ms or outcome.ended_ms
        attributes = {"retake.video_id": spec.id, "retake.priority": spec.priority}
        queued = tracer.start_span(
            "job queued", parent, attributes=attributes, start_time=_ns(outcome.queued_ms)
        )
        queued.end(_ns(taken_ms))
        if outcome.started_ms is None:
            return
        run = tracer.start_span(
            f"job {outcome.kind}",
            parent,
            start_time=_ns(taken_ms),
            attributes={
                **attributes,
                "retake.model": spec.recipe.generation.model,
                "retake.steps": state.total_steps,
                "retake.attempts": state.attempts,
                "retake.outcome": outcome.outcome,
                "retake.attention": state.result.attention if state.result else "none",
            },
        )
        if state.error is not None:
            run.set_status(StatusCode.ERROR, state.error.code)
        run.end(_ns(outcome.ended_ms))

    def close(self) -> None:
        """Send what has not been sent."""
        if self.provider is not None:
            self.provider.shutdown()


def _ns(ms: int) -> int:
    return ms * 1_000_000
