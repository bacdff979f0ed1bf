"""Fields of other video servers: taken where we do it anyway, refused where we do not."""

from typing import Any

import pytest

from schemas.errors import InvalidRequest
from schemas.requests import CreateVideo, RemixVideo
from service.wire.foreign_fields import translate
from tests.service.conftest import Api

PROMPT = {"prompt": "A car."}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"n": 1}, {}),
        ({"n": "1", "num_outputs_per_prompt": 1, "user": "u-7"}, {}),
        ({"response_format": "url", "quality": "standard"}, {}),
        ({"n": None, "user": None}, {}),
        ({"width": 96, "height": 64}, {"size": "96x64"}),
        ({"width": "96", "height": "64", "size": "96x64"}, {"size": "96x64"}),
        ({"extra_params": {"seed": 7}, "extra_body": {"fps": 8}}, {"seed": 7, "fps": 8}),
        ({"extra_params": {"width": 96, "height": 64, "n": 1}}, {"size": "96x64"}),
        ({"extra_params": {}, "seed": 7}, {"seed": 7}),
        ({"extra_params": {"seed": 7}, "seed": 7}, {"seed": 7}),
    ],
)
def test_what_is_done_anyway(sent: dict[str, Any], meant: dict[str, Any]) -> None:
    assert translate(PROMPT | sent, CreateVideo) == PROMPT | meant


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"num_outputs_per_prompt": 4}, "num_outputs_per_prompt"),
        ({"response_format": "b64_json"}, "response_format"),
        ({"quality": "hd"}, "quality"),
        ({"user": 7}, "user"),
        ({"user": "x" * 513}, "user"),
        ({"width": 96}, "height"),
        ({"width": 96.5, "height": 64}, "width"),
        ({"width": 96, "height": 64, "size": "64x96"}, "size"),
        ({"extra_params": "seed"}, "extra_params"),
        ({"extra_params": {"seed": 7}, "seed": 8}, "extra_params.seed"),
        ({"extra_params": {"n": 3}}, "n"),
    ],
)
def test_what_is_not_done_is_refused(sent: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate(PROMPT | sent, CreateVideo)
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")


def test_other_bodies_are_left_as_they_are() -> None:
    bodies: tuple[Any, ...] = (PROMPT, [], "x", None)
    for body in bodies:
        assert translate(body, CreateVideo) is body
    assert translate({"width": 96, "height": 64, "n": 1}, RemixVideo) == {"width": 96, "height": 64}


def test_sizes_and_seconds_reach_the_video(api: Api) -> None:
    video = api.create(width=64, height=48, seconds=1, n=1, user="someone")
    assert (video["size"], video["seconds"], video["num_frames"]) == ("64x48", "1.125", 9)
    unknown = api.http.post("/videos", json=PROMPT | {"extra_params": {"sampler": "ddim"}})
    assert unknown.json()["error"]["param"] == "sampler"


def test_every_length_that_is_printed_can_be_sent(api: Api) -> None:
    for frames in (1, 5, 9, 17, 33):
        for fps in (1, 3, 7, 16, 30):
            made = api.create(num_frames=frames, fps=fps)
            for seconds in (made["seconds"], float(made["seconds"])):
                again = api.create(seconds=seconds, fps=fps)
                assert (again["num_frames"], again["seconds"]) == (frames, made["seconds"])


def test_objects_as_json_in_a_form(api: Api) -> None:
    source = api.finished()
    fields = {
        "prompt": "[A red] car.",
        "video": f'{{"id": "{source["id"]}"}}',
        "transfer": '{"layers": [3]}',
        "n": "1",
        "user": "someone",
    }
    response = api.http.post(
        "/videos/edits", files={name: (None, value) for name, value in fields.items()}
    )
    assert response.status_code == 200, response.text
    edit = response.json()
    assert (edit["prompt"], edit["transfer"]["layers"]) == ("[A red] car.", [3])
    assert edit["remixed_from_video_id"] == source["id"]
    broken = {"prompt": (None, "x"), "capture": (None, '{"layers": [3')}
    response = api.http.post("/videos", files=broken)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "capture")
