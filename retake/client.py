"""A small client of the HTTP API, for the CLI, the demo and the benches.

Products use the OpenAI SDK. The CLI needs more: progress by SSE, and errors in one sentence.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

Json = dict[str, Any]


class ApiError(Exception):
    """The server refused: ``code`` from its envelope, ``str()`` its message."""

    def __init__(self, message: str, code: str | None = None, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def address_of(url: str) -> str:
    """The ``/v1`` address of the server that ``url`` names, with or without scheme and ``/v1``."""
    address = url.strip().rstrip("/")
    if "://" not in address:
        host = address.rpartition("@")[2].partition("/")[0].partition(":")[0]
        local = host in ("localhost", "127.0.0.1", "[") or host.startswith("127.")
        address = f"{'http' if local else 'https'}://{address}"
    return address if address.endswith("/v1") else f"{address}/v1"


class Client:
    """For one server. ``base_url``: as ``address_of`` takes it; ``api_key`` may be None on
    loopback."""

    def __init__(self, base_url: str, api_key: str | None = None, timeout_s: float = 30.0) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.Client(
                base_url=address_of(base_url),
                headers=headers,
                timeout=timeout_s,
                follow_redirects=True,
            )
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise ApiError(
                f"{base_url!r} is no server's address, or the key is none; give a URL as in "
                "http://127.0.0.1:8000"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request; raises ApiError with the server's own message for an error status."""
        try:
            response = self._http.request(method, path, **kwargs)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ApiError(
                f"no answer from {self._http.base_url}: is `retake serve` up?"
            ) from error
        if response.is_error:
            raise _error_of(response)
        return response

    def create(self, **body: Any) -> Json:
        return _json(self.request("POST", "/videos", json=body))

    def remix(self, video_id: str, **body: Any) -> Json:
        return _json(self.request("POST", f"/videos/{video_id}/remix", json=body))

    def edit(self, **body: Any) -> Json:
        return _json(self.request("POST", "/videos/edits", json=body))

    def upload(self, path: Path) -> Json:
        """Store a film of one's own; its id names it as the ``video`` of an edit."""
        with path.open("rb") as file:
            files = {"file": (path.name, file)}
            return _json(self.request("POST", "/uploads", files=files, timeout=None))

    def get(self, video_id: str) -> Json:
        return _json(self.request("GET", f"/videos/{video_id}"))

    def list(self, **query: Any) -> Json:
        return _json(self.request("GET", "/videos", params=query))

    def cancel(self, video_id: str) -> Json:
        return _json(self.request("POST", f"/videos/{video_id}/cancel"))

    def delete(self, video_id: str) -> Json:
        return _json(self.request("DELETE", f"/videos/{video_id}"))

    def models(self) -> Json:
        return _json(self.request("GET", "/models"))

    def download(self, video_id: str, path: Path, variant: str = "video") -> Path:
        """Write the content to ``path``."""
        response = self.request("GET", f"/videos/{video_id}/content", params={"variant": variant})
        path.write_bytes(response.content)
        return path

    def events(self, video_id: str) -> Iterator[tuple[str, Json]]:
        """The video's events, as ``events_at`` gives them."""
        return self.events_at(f"/videos/{video_id}")

    def events_at(self, path: str) -> Iterator[tuple[str, Json]]:
        """The events of the job at ``path`` as (type, data), to its last; resumes when a
        connection breaks."""
        last_id = ""
        while True:
            headers = {"last-event-id": last_id} if last_id else {}
            kind, data = "", ""
            try:
                with self._http.stream(
                    "GET", f"{path}/events", headers=headers, timeout=60.0
                ) as response:
                    if response.is_error:
                        response.read()
                        raise _error_of(response)
                    for line in response.iter_lines():
                        name, _, value = line.partition(": ")
                        if name == "event":
                            kind = value
                        elif name == "data":
                            data = value
                        elif name == "id":
                            last_id = value
                        elif not line and data:
                            yield kind, json.loads(data)
                            if kind in ("completed", "failed"):
                                return
                            kind, data = "", ""
            except httpx.TransportError:
                self.request("GET", path)  # raises if it was deleted; else go on after last_id


def _json(response: httpx.Response) -> Json:
    try:
        body: Json = response.json()
    except ValueError:
        raise ApiError(f"{response.url} answers, but it is no Retake server") from None
    return body


def _error_of(response: httpx.Response) -> ApiError:
    try:
        error = response.json()["error"]
        return ApiError(error["message"], error.get("code"), response.status_code)
    except (ValueError, KeyError, TypeError):
        return ApiError(f"HTTP {response.status_code}", None, response.status_code)
