"""Pages of other origins: none may ask unless a setting names theirs; then they may all of it."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from pydantic import ValidationError

from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key

SITE = "https://app.example.org"
PREFLIGHT = {
    "origin": SITE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


def preflight(api: Api, path: str = "/videos", **changed: str) -> httpx.Response:
    headers = PREFLIGHT | {name.replace("_", "-"): value for name, value in changed.items()}
    return api.http.options(path, headers=headers)


def cors_of(response: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in response.headers.items() if k.startswith("access-control-")}


@pytest.fixture
def named(serve: Serve) -> Api:
    return serve(cors_origins=(SITE, "http://10.0.0.7:3000"))


def test_off_by_default(api: Api) -> None:
    refused = preflight(api)
    assert (refused.status_code, cors_of(refused)) == (405, {})
    ours = api.http.get("/videos", headers={"origin": "http://localhost:3000"})
    assert (ours.status_code, cors_of(ours)) == (200, {})


def test_preflight(named: Api) -> None:
    allowed = preflight(named)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == SITE
    assert (
        allowed.headers["access-control-allow-headers"]
        == PREFLIGHT["access-control-request-headers"]
    )
    assert allowed.headers["access-control-allow-methods"] == "GET, HEAD, POST, PATCH, DELETE"
    assert "access-control-allow-credentials" not in allowed.headers, "no cookie speaks here"
    assert "Origin" in allowed.headers["vary"]


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{SITE}.evil.example"},
        {"origin": "http://app.example.org"},
        {"access_control_request_method": "PUT"},
    ],
)
def test_a_preflight_is_refused_in_the_envelope(named: Api, changed: dict[str, str]) -> None:
    refused = preflight(named, **changed)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("origin_not_allowed", "Origin")
    assert next(iter(changed.values())) in error["message"]
    assert "access-control-allow-origin" not in refused.headers


def test_content_is_readable_with_its_ranges(named: Api) -> None:
    video = named.finished()
    asked = {"origin": SITE, "range": "bytes=4-7"}
    response = named.http.get(f"/videos/{video['id']}/content", headers=asked)
    assert (response.status_code, response.content) == (206, b"ftyp")
    assert response.headers["access-control-allow-origin"] == SITE
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"content-range", "accept-ranges", "etag", "x-request-id"} <= set(exposed)


def test_events_stream_to_it(named: Api) -> None:
    video = named.create()
    with named.http.stream(
        "GET", f"/videos/{video['id']}/events", headers={"origin": SITE}
    ) as response:
        assert response.headers["access-control-allow-origin"] == SITE
        assert "event: completed" in b"".join(response.iter_bytes()).decode()


def test_errors_are_readable_too(named: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = named.http.get("/videos/video_00000000", headers={"origin": SITE})
    assert missing.status_code == 404
    assert missing.headers["access-control-allow-origin"] == SITE
    monkeypatch.setattr(type(named.state.jobs), "list", None)  # a fault of ours
    fault = named.http.get("/videos", headers={"origin": SITE})
    assert fault.status_code == 500
    assert fault.headers["access-control-allow-origin"] == SITE


def test_others_are_kept_out_as_before(named: Api) -> None:
    response = named.http.get("/videos", headers={"origin": "https://evil.example"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_loopback")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin",
    ["app.example.org", f"{SITE}/", "https://App.example.org", "null", "https://*.org", ""],
)
def test_what_no_browser_sends_is_no_origin(own_storage: StorageSettings, origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        ServiceSettings(storage=own_storage, cors_origins=(origin,))


def test_any_origin_only_where_keys_are_asked_for(own_storage: StorageSettings) -> None:
    with pytest.raises(ValueError, match=r"name the origins, or set RETAKE_AUTH=keys"):
        ServiceSettings(storage=own_storage, cors_origins=("*",))
    assert ServiceSettings(storage=own_storage, cors_origins=("*",), auth="keys").cors_origins


def test_the_setting_is_a_list_in_json(
    own_storage: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAKE_CORS_ORIGINS", f'["{SITE}", "http://[::1]:3000"]')
    assert ServiceSettings(storage=own_storage).cors_origins == (SITE, "http://[::1]:3000")


ASK = """async ([api, key]) => {
    const headers = {authorization: `Bearer ${key}`, 'content-type': 'application/json'};
    const made = await fetch(`${api}/v1/videos`,
        {method: 'POST', headers, body: JSON.stringify({prompt: 'A car.'})});
    const { id } = await made.json();
    const events = await (await fetch(`${api}/v1/videos/${id}/events`, {headers})).text();
    const content = await fetch(`${api}/v1/videos/${id}/content?delivery=bytes`,
        {headers: {...headers, range: 'bytes=4-7'}});
    return [made.headers.get('x-request-id'), events, content.headers.get('content-range'),
        await content.text()];
}"""


def test_a_real_page_of_another_origin(
    serve: Serve, own_storage: StorageSettings, api: Api, request: pytest.FixtureRequest
) -> None:
    secret = make_key(own_storage, "alice")
    closed, opened = (
        serve(auth="keys", worker=worker, cors_origins=origins)
        for worker, origins in ((True, ()), (False, (api.url,)))
    )
    browser: Browser = request.getfixturevalue("chromium")  # only now: see tests/browser.py
    page = browser.new_page()
    page.goto(f"{api.url}/healthz")  # a page of that origin, with no policy of its own
    answers: list[Any] = page.evaluate(ASK, [opened.url, secret])
    assert answers[0].startswith("req_")
    assert "event: completed" in answers[1]
    assert answers[2].startswith("bytes 4-7/")
    assert answers[3] == "ftyp"
    assert "TypeError" in page.evaluate(f"({ASK})({[closed.url, secret]}).catch(String)")
    page.close()
