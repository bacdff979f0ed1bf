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
        (
            {"prompt": "x" * 300},
            "prompt",
            "300 characters are not allowed; model 'scenes' takes 200",
        ),
        ({"prompt": 7}, "prompt", "7 is not allowed: it must be a string"),
        ({"prompt": "x", "model": "sora-2"}, "model", "allowed are scenes"),
        ({"prompt": "x", "model": ["a"]}, "model", "it must be a string"),
        ({"prompt": "x", "seed": "7"}, "seed", "'7' is not allowed: it must be a whole number"),
        ({"prompt": "x", "seed": -1}, "seed", "greater than or equal to 0"),
        ({"prompt": "x", "seed": 2**63}, "seed", "less than or equal to 9223372036854775807"),
        ({"prompt": "x", "seed": True}, "seed", "true is not allowed"),
        ({"prompt": "x", "seed": 1.5}, "seed", "whole number"),
        ({"prompt": "x", "seed": "7", "fps": None}, "seed", "whole number"),
        ({"prompt": " \n\t"}, "prompt", "more than spaces"),
        ({"prompt": "a\0car"}, "prompt", "null character"),
        ({"prompt": "x", "negative_prompt": "\0"}, "negative_prompt", "null character"),
        ({"prompt": None}, "prompt", "null is not allowed: it must be a string"),
        ({"prompt": "x", "size": "big"}, "size", "'big' is not allowed: allowed is WIDTHxHEIGHT"),
        ({"prompt": "x", "size": "0x64"}, "size", "WIDTHxHEIGHT"),
        ({"prompt": "x", "size": "9999x64"}, "size", "nearest is 128x64"),
        ({"prompt": "x", "size": "88x56"}, "size", "widths 32 to 128 in multiples of 16"),
        ({"prompt": "x", "size": "128x128"}, "size", "9216 pixels in all; nearest is"),
        ({"prompt": "x", "seconds": True}, "seconds", "it must be a string"),
        ({"prompt": "x", "seconds": 10**400}, "seconds", "401 characters"),
        ({"prompt": "x", "seconds": 99}, "seconds", "allowed is 0.125 to 4.12"),
        ({"prompt": "x", "fps": 121}, "fps", "121 is not allowed; allowed is 1 to 30"),
        ({"prompt": "x", "fps": 0}, "fps", "allowed is 1 to 30; nearest is 1"),
        ({"prompt": "x", "num_frames": 20_000}, "num_frames", "allowed is 1 to 33"),
        ({"prompt": "x", "guidance_scale": 101}, "guidance_scale", "allowed is 0 to 20"),
        ({"prompt": "x", "guidance_scale": -1}, "guidance_scale", "allowed is 0 to 20"),
        ({"prompt": "x", "num_inference_steps": 2000}, "num_inference_steps", "1 to 50"),
        ({"prompt": "x", "seconds": "soon"}, "seconds", "decimal number as a string"),
        ({"prompt": "x", "seconds": "2", "num_frames": 9}, None, "not both"),
        ({"prompt": "x", "num_frames": 10}, "num_frames", "nearest is 9"),
        ({"prompt": "x", "num_inference_steps": 0}, "num_inference_steps", "0 is not allowed"),
        ({"prompt": "x", "guidance_scale": "4"}, "guidance_scale", "must be a number"),
        ({"prompt": "x", "priority": "urgent"}, "priority", "'low', 'normal' or 'high'"),
        ({"prompt": "x", "sede": 7}, "sede", "is not a known field; allowed are capture"),
        ({"prompt": "x", "capture": {"form": "all"}}, "capture.form", "'hidden', 'qk' or 'dense'"),
        ({"prompt": "x", "capture": {"layers": []}}, "capture.layers", "at least 1 item"),
        ({"prompt": "x", "capture": {"layers": [4]}}, "capture.layers", "not one of 0 to 3"),
        ({"prompt": "x", "capture": {"layers": ["3"]}}, "capture.layers.0", "whole number"),
        (
            {"prompt": "x", "capture": {"steps": {"start": 3, "stop": 1}}},
            "capture.steps",
            "greater",
        ),
        ({"prompt": "x", "capture": {"path": "/etc"}}, "capture.path", "allowed are form, codec"),
        ({"prompt": "x", "capture": "yes"}, "capture", "'yes' is not allowed"),
        ({"prompt": "x", "loras": [["../../x", 1.0]]}, "loras", "offers none"),
        (
            {"prompt": "x", "input_reference": {"image_url": "http://x"}},
            "input_reference",
            "none that is loaded",
        ),
        ([], None, "a list is not allowed: it must be an object"),
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
    assert error["message"].endswith(
        "'all' is not allowed: it must be a list or it must be an object"
    )


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
        assert error_of(api.http.get(path), 404)["message"].startswith("nothing is at")
    error_of(httpx.get(f"{api.url}/nothing"), 404)
    response = api.http.put("/videos", json={})
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "GET, POST"
    response = api.http.patch("/videos/video_0123456789")
    error_of(response, 405)
    assert response.headers["allow"] == "DELETE, GET"
    response = api.http.post("/videos/video_0123456789/content")
    error_of(response, 405)
    assert response.headers["allow"] == "GET, HEAD"
    response = httpx.post(f"{api.url}/healthz")
    error_of(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "video_id", ["x", "video_", "video_../x", "video_0123456789:x", "%00", "video_" + "0" * 65, "é"]
)
def test_ids_that_were_never_given_out(api: Api, video_id: str) -> None:
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/content"), ("POST", "/cancel"), ("POST", "/remix"),
    ):  # fmt: skip
        response = api.http.request(method, f"/videos/{video_id}{path}", json={"prompt": "x"})
        error = error_of(response, 404)
        assert error["code"] == "not_found"
        if "/" not in video_id:
            assert error["param"] == "video_id"
            assert error["message"].startswith("no video")


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


def test_a_parameter_given_twice(api: Api) -> None:
    for path in ("/videos?limit=1&limit=2", "/videos?order=asc&limit=1&order=asc"):
        error = error_of(api.http.get(path), 400)
        assert error["message"] == f"{error['param']}: was given twice"


def test_an_after_that_is_no_id_of_the_projects(api: Api) -> None:
    for after in ("video_nothing", "#5", "#x"):
        assert error_of(api.http.get("/videos", params={"after": after}), 404)["param"] == "after"


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
