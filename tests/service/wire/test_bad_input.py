"""Bad requests: each a 4xx in the envelope that names the field, and nothing queued."""

from typing import Any

import httpx
import pytest

from tests.service.conftest import Api

JSON = {"content-type": "application/json"}


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The envelope's error; the response is checked to be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    assert isinstance(error["message"], str)
    assert error["code"]
    return error


@pytest.fixture(autouse=True)
def _nothing_is_queued(api: Api) -> Any:
    before = api.http.get("/videos", params={"limit": 1}).json()["first_id"]
    yield
    assert api.http.get("/videos", params={"limit": 1}).json()["first_id"] == before


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "prompt", "is required"),
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "x" * 5000}, "prompt", "5000 characters"),
        ({"prompt": "x" * 300}, "prompt", "300 characters; model 'scenes' takes 200"),
        ({"prompt": 7}, "prompt", "7 is not allowed: input should be a valid string"),
        ({"prompt": "x", "model": "sora-2"}, "model", "allowed are scenes"),
        ({"prompt": "x", "model": ["a"]}, "model", "valid string"),
        ({"prompt": "x", "seed": "7"}, "seed", "'7' is not allowed: input should be a valid int"),
        ({"prompt": "x", "seed": -1}, "seed", "greater than or equal to 0"),
        ({"prompt": "x", "seed": 2**63}, "seed", "less than or equal to 9223372036854775807"),
        ({"prompt": "x", "seed": True}, "seed", "True is not allowed"),
        ({"prompt": "x", "seed": 1.5}, "seed", "valid integer"),
        ({"prompt": "x", "size": "big"}, "size", "'big' is not allowed: allowed is WIDTHxHEIGHT"),
        ({"prompt": "x", "size": "0x64"}, "size", "WIDTHxHEIGHT"),
        ({"prompt": "x", "size": "9999x64"}, "size", "9999 is not allowed"),
        ({"prompt": "x", "seconds": 4}, "seconds", "valid string"),
        ({"prompt": "x", "seconds": "soon"}, "seconds", "decimal number as a string"),
        ({"prompt": "x", "seconds": "2", "num_frames": 9}, None, "not both"),
        ({"prompt": "x", "num_frames": 10}, "num_frames", "nearest is 9"),
        ({"prompt": "x", "num_inference_steps": 0}, "num_inference_steps", "0 is not allowed"),
        ({"prompt": "x", "guidance_scale": "4"}, "guidance_scale", "valid number"),
        ({"prompt": "x", "priority": "urgent"}, "priority", "'low', 'normal' or 'high'"),
        ({"prompt": "x", "sede": 7}, "sede", "is not a known field; allowed are capture"),
        ({"prompt": "x", "capture": {"form": "all"}}, "capture.form", "'hidden', 'qk' or 'dense'"),
        ({"prompt": "x", "capture": {"layers": []}}, "capture.layers", "at least 1 item"),
        ({"prompt": "x", "capture": {"layers": [4]}}, "capture.layers", "not one of 0 to 3"),
        ({"prompt": "x", "capture": {"layers": ["3"]}}, "capture.layers.0", "valid integer"),
        (
            {"prompt": "x", "capture": {"steps": {"start": 3, "stop": 1}}},
            "capture.steps",
            "greater",
        ),
        ({"prompt": "x", "capture": {"path": "/etc"}}, "capture.path", "allowed are form, codec"),
        ({"prompt": "x", "capture": "yes"}, "capture", "'yes' is not allowed"),
        ({"prompt": "x", "loras": [["../../x", 1.0]]}, "loras", "offers none"),
        ({"prompt": "x", "input_reference": {"image_url": "http://x"}}, "input_reference", "known"),
        ([], None, "an array is not allowed"),
        ("x", None, "is not allowed"),
    ],
)
def test_bad_values(api: Api, body: Any, param: str | None, says: str) -> None:
    error = error_of(api.http.post("/videos", json=body), 400)
    assert error["param"] == param, error
    assert says in error["message"]
    assert error["message"].startswith(param or "the body")


def test_of_a_unions_errors_the_one_that_was_meant(api: Api) -> None:
    body = {"prompt": "x", "capture": {"steps": {"start": 3, "stop": 1}}}
    error = error_of(api.http.post("/videos", json=body), 400)
    assert error["message"] == "capture.steps: stop 1 must be greater than start 3"
    body = {"prompt": "x", "capture": {"steps": "all"}}
    error = error_of(api.http.post("/videos", json=body), 400)
    assert "a valid tuple or" in error["message"] or "a valid array or" in error["message"]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"prompt": "\xff"}', "not valid UTF-8"),
        (b'{"prompt": "x", "prompt": "y"}', "prompt: was given twice"),
        (b'{"prompt": "x", "transfer": {"layers": [1], "layers": [2]}}', "layers: was given twice"),
        (b'{"prompt": "x", "guidance_scale": NaN}', "NaN is no JSON number"),
        (b'{"prompt": "x", "guidance_scale": 1e999}', "guidance_scale"),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"prompt": "x", "capture": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests too deep"),
        (b'{"prompt": "x", "capture": ' + b"[" * 500 + b"]" * 500 + b"}", "recursion limit"),
        (b'{"prompt": "\\ud800"}', "invalid JSON: unexpected end of hex escape"),
        (b'\xef\xbb\xbf{"prompt": "x"}', "not valid JSON"),
    ],
)
def test_bad_json(api: Api, raw: bytes, says: str) -> None:
    error = error_of(api.http.post("/videos", content=raw, headers=JSON), 400)
    assert says in error["message"]


def test_form_values_are_checked_as_json_is(api: Api) -> None:
    files = {"prompt": (None, "x"), "seed": (None, "seven")}
    error = error_of(api.http.post("/videos", files=files), 400)
    assert error["message"].startswith("seed: 'seven' is not allowed")
    files = {"prompt": (None, "x"), "transfer[layers][]": (None, "3")}
    assert error_of(api.http.post("/videos", files=files), 400)["param"] == "transfer"
    files = {"prompt": (None, "x"), "capture[layers][]": (None, "9")}
    assert error_of(api.http.post("/videos", files=files), 400)["param"] == "capture.layers"


def test_malformed_multipart(api: Api) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    for raw in (b"", b"--b", b"--c--\r\n", b"--b\r\n\r\n", b"\x00" * 100):
        error_of(api.http.post("/videos", content=raw, headers=headers), 400)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_other_media_types(api: Api, kind: str) -> None:
    error = error_of(
        api.http.post("/videos", content=b"prompt=x", headers={"content-type": kind}), 415
    )
    assert "application/json and multipart/form-data" in error["message"]


def test_a_body_over_the_limit(api: Api) -> None:
    limit = api.settings.max_body_bytes
    error = error_of(api.http.post("/videos", json={"prompt": "x" * limit}), 413)
    assert str(limit) in error["message"]
    state = (b'{"prompt": "', *[b"x" * 65536] * 40, b'"}')  # chunked: no length declared
    error_of(api.http.post("/videos", content=iter(state), headers=JSON), 413)


def test_unknown_paths_and_methods(api: Api) -> None:
    for path in ("/nothing", "/videos/", "/videos/x/y/z", "/../etc/passwd", "/v1"):
        assert error_of(api.http.get(path), 404)["code"]
    error_of(httpx.get(f"{api.url}/nothing"), 404)
    response = api.http.put("/videos", json={})
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "GET, POST"
    response = api.http.patch("/videos/video_0123456789")
    error_of(response, 405)
    assert response.headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    "video_id", ["x", "video_", "video_../x", "video_0123456789:x", "%00", "video_" + "0" * 65, "é"]
)
def test_ids_that_were_never_given_out(api: Api, video_id: str) -> None:
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/content"), ("POST", "/cancel"), ("POST", "/remix"),
    ):  # fmt: skip
        response = api.http.request(method, f"/videos/{video_id}{path}", json={"prompt": "x"})
        assert error_of(response, 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"order": "up"}, "order"),
        ({"limt": 3}, "limt"),
    ],
)
def test_bad_queries(api: Api, query: dict[str, Any], param: str) -> None:
    assert error_of(api.http.get("/videos", params=query), 400)["param"] == param


def test_an_after_that_is_no_id_of_the_projects(api: Api) -> None:
    assert (
        error_of(api.http.get("/videos", params={"after": "video_nothing"}), 404)["param"]
        == "after"
    )


@pytest.mark.parametrize("wait", ["soon", "-1", "inf", "nan"])
def test_bad_waits(api: Api, wait: str) -> None:
    video_id = "video_0123456789"
    response = api.http.get(f"/videos/{video_id}", params={"wait": wait})
    assert error_of(response, 400)["param"] == "wait"


def test_the_callers_request_id_is_kept_when_plain(api: Api) -> None:
    def echo(text: str) -> str:
        return api.http.get("/models", headers={"x-request-id": text}).headers["x-request-id"]

    assert echo("abc-123") == "abc-123"
    assert echo("a b").startswith("req_")
    assert echo("x" * 200).startswith("req_")
