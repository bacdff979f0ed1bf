"""Studio's files: small, self-contained, and served with a strict policy."""

import gzip
import re
import socket
from pathlib import Path

import httpx
import pytest

from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key

FOLDER = Path(__file__).parents[3] / "service" / "studio"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
NAMES = [str(path.relative_to(FOLDER)) for path in FILES]
PAGE = (FOLDER / "index.html").read_text()
BUDGET_BYTES = 200_000
LINES = 300
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "media-src": "blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


def policy_of(response: httpx.Response) -> dict[str, str]:
    parts = response.headers["content-security-policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


def test_all_of_it_is_under_200_kb() -> None:
    assert sum(path.stat().st_size for path in FILES) < BUDGET_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_served_as_it_lies_there(api: Api, name: str) -> None:
    response = httpx.get(f"{api.url}/studio/{name}")
    assert response.status_code == 200
    assert response.content == (FOLDER / name).read_bytes()
    assert response.headers["x-content-type-options"] == "nosniff"
    assert policy_of(response) == POLICY
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image"}
    assert response.headers["content-type"].startswith(kinds[Path(name).suffix])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_in_one_sitting_and_names_no_other_host(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) <= LINES
    hosts = set(re.findall(r"[a-z]+://[\w.-]+", text))
    assert hosts <= {"http://www.w3.org"}, "the namespace of SVG, which nobody asks for"


def test_the_page_has_no_script_style_or_handler_within() -> None:
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", PAGE)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_no_text_is_ever_made_markup_or_code(name: str) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|Function\("
    assert not re.search(markup, (FOLDER / name).read_text())


def test_the_page_names_every_file_and_no_other() -> None:
    named = set(re.findall(r'(?:src|href)="studio/([^"]+)"', PAGE))
    assert named == set(NAMES) - {"index.html"}, "modules are named too, to be loaded at once"


def test_a_file_that_the_browser_has_is_not_sent_again(api: Api) -> None:
    first = httpx.get(f"{api.url}/studio", headers={"accept-encoding": "identity"})
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    again = httpx.get(f"{api.url}/studio", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert policy_of(again) == POLICY
    other = httpx.get(f"{api.url}/studio", headers={"if-none-match": 'W/"other"'})
    assert other.status_code == 200


def test_it_is_gzipped_for_who_takes_that(api: Api) -> None:
    with httpx.stream(
        "GET", f"{api.url}/studio", headers={"accept-encoding": "gzip, br"}
    ) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "accept-encoding"
    assert gzip.decompress(raw) == PAGE.encode()
    assert int(response.headers["content-length"]) == len(raw) < len(PAGE)


def test_head_and_other_methods(api: Api) -> None:
    head = httpx.head(f"{api.url}/studio", headers={"accept-encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(PAGE.encode())
    refused = httpx.post(f"{api.url}/studio")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["nothing.js", "../settings.py", "%2e%2e/settings.py", "api", "", "style/../app.js"]
)
def test_nothing_else_is_found_below_it(api: Api, path: str) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    request = f"GET /studio/{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.encode())  # as it is: clients tidy such paths up
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 302" if not path else b"HTTP/1.1 404"), answer


def test_the_way_to_it_from_the_root(api: Api) -> None:
    accept = "text/html,application/xhtml+xml,*/*;q=0.8"
    response = httpx.get(f"{api.url}/", headers={"accept": accept}, follow_redirects=True)
    assert str(response.url) == f"{api.url}/studio"
    assert response.text == PAGE
    slash = httpx.get(f"{api.url}/studio/", follow_redirects=True)
    assert str(slash.url) == f"{api.url}/studio"
    for program in ("*/*", "application/json"):
        refused = httpx.get(f"{api.url}/", headers={"accept": program})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


def test_the_page_needs_no_key_and_the_api_does(serve: Serve, own_storage: StorageSettings) -> None:
    make_key(own_storage, "alice")
    api = serve(auth="keys", worker=False)
    assert httpx.get(f"{api.url}/studio").text == PAGE
    assert api.http.get("/videos").status_code == 401
