"""One trace from request to the job's end, received as a collector receives it; and JSON logs."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.jobs import JobSpec
from service.logs import JsonFormatter
from tests.service.conftest import Api, Serve, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def test_request_queue_and_run_are_one_trace(serve: Serve, collector: Collector) -> None:
    api = serve(otlp_endpoint=collector.url)
    body = {"prompt": "A car."}
    video = api.http.post("/videos", json=body, headers={"traceparent": PARENT}).json()
    api.get(video["id"], wait=10)
    provider = api.state.tracing.provider
    assert provider is not None

    def spans() -> dict[str, Span] | None:
        provider.force_flush()
        found = {s.name: s for s in collector.spans if s.trace_id.hex() == TRACE}
        return found if "job generation" in found else None

    found = wait_for(spans, "the spans")
    request = found["POST /v1/videos"]
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    queued, run = found["job queued"], found["job generation"]
    assert queued.parent_span_id == run.parent_span_id == request.span_id
    assert queued.start_time_unix_nano <= queued.end_time_unix_nano == run.start_time_unix_nano
    attributes = {a.key: a.value for a in run.attributes}
    assert attributes["retake.steps"].int_value == 4
    assert attributes["retake.outcome"].string_value == "completed"


@pytest.mark.parametrize(("sent", "kept"), [(PARENT, PARENT), ("nonsense", None), (None, None)])
def test_untraced_the_callers_place_is_passed_on(
    idle: Api, sent: str | None, kept: str | None
) -> None:
    import redis

    headers = {"traceparent": sent} if sent else {}
    video = idle.http.post("/videos", json={"prompt": "A car."}, headers=headers).json()
    storage = idle.settings.storage
    with redis.Redis.from_url(storage.redis_url) as client:
        record = client.hget(f"{storage.redis_prefix}:job:{video['id']}", "spec")
    assert JobSpec.model_validate_json(record).traceparent == kept


def test_log_lines_are_json_and_name_the_request(api: Api) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("retake.service")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        response = api.http.post("/videos", json={"prompt": "A secret plan."})
        wait_for(lambda: "POST /v1/videos" in stream.getvalue(), "the line")
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    line = next(line for line in lines if line["message"] == "POST /v1/videos")
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["status"], line["level"]) == (200, "info")
    assert line["seconds"] > 0
    queued = next(line for line in lines if line["message"].startswith("queued"))
    assert queued["video_id"] == response.json()["id"]
    assert "secret plan" not in stream.getvalue()  # what people ask for is theirs


def test_a_traceback_is_one_line() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.LogRecord("a", 40, "f", 1, "m", (), None)
        import sys

        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: x" in json.loads(line)["exception"]
