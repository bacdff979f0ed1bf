"""Edits that are kept to a region: said in each way, part of the key, shown, refused clearly."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from storage.connect import open_objects
from storage.settings import StorageSettings
from tests.service.conftest import Api
from tests.service.routes.test_uploads import upload
from tests.service.wire.test_bad_input import error_of
from tests.service.worker import CARD, film

SOURCE = {"prompt": "A car.", "seed": 3, "num_frames": 5}
BOX = {"x": 8, "y": 4, "width": 32, "height": 16}


def edit(api: Api, region: Any, **body: Any) -> httpx.Response:
    whole = {"prompt": "A red car.", "source": SOURCE, "region": region, **body}
    return api.http.post("/videos/edits", json=whole)


def accepted(api: Api, region: Any, **body: Any) -> dict[str, Any]:
    response = edit(api, region, **body)
    assert response.status_code == 200, response.text
    video: dict[str, Any] = response.json()
    return video


def png(mode: str = "L", scale: int = 1, white: bool = True) -> bytes:
    """``BOX`` as a mask of the video's size, or larger."""
    pixels = np.zeros((64 * scale, 96 * scale), np.uint8)
    if white:
        pixels[4 * scale : 20 * scale, 8 * scale : 40 * scale] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def url(data: bytes) -> dict[str, str]:
    return {"image_url": f"data:;base64,{base64.b64encode(data).decode()}"}


def test_a_picture_and_a_box_of_the_same_pixels_are_one_region(
    api: Api, storage: StorageSettings
) -> None:
    by_box = accepted(api, {"boxes": [BOX]})
    whole = {"boxes": [{**BOX, "frames": [0, 4]}]}
    others = [accepted(api, each) for each in (url(png()), url(png("RGB", scale=2)), whole)]
    assert {each["source_key"] for each in others} == {by_box["source_key"]}
    assert {each["region"]["mask"] for each in others} == {by_box["region"]["mask"]}
    (info,) = open_objects(storage).list(f"videos/default/{by_box['id']}/pictures")
    kept = np.asarray(Image.open(io.BytesIO(open_objects(storage).get(info.key))))
    assert np.array_equal(kept, np.asarray(Image.open(io.BytesIO(png()))))

    parts = {"boxes": [{**BOX, "frames": [0, 2]}, {**BOX, "x": 16, "frames": [3, 4]}]}
    keys = [
        accepted(api, region)["source_key"]
        for region in ({"boxes": [BOX], "softness": 4}, {"boxes": [BOX], "growth": 2}, parts)
    ]
    plain = api.http.post("/videos/edits", json={"prompt": "A red car.", "source": SOURCE}).json()
    assert plain["region"] is None
    assert len({by_box["source_key"], plain["source_key"], *keys}) == 5


def test_as_a_file_of_a_form(api: Api) -> None:
    named = {f"source[{name}]": str(value) for name, value in SOURCE.items()}
    data = {"prompt": "A red car.", **named, "region[softness]": "2"}
    files = {"region": ("mask.png", png(), "image/png")}
    response = api.http.post("/videos/edits", data=data, files=files)
    assert response.status_code == 200, response.text
    by_json = accepted(api, {"boxes": [BOX], "softness": 2})
    assert response.json()["source_key"] == by_json["source_key"]


def test_a_mask_video_is_sent_or_uploaded(api: Api) -> None:
    """A film that grows brighter: white in its last frames alone."""
    mask = upload(api, film(5))
    by_id = accepted(api, {"id": mask["id"]})
    by_url = accepted(api, url(film(5)))
    assert by_id["source_key"] == by_url["source_key"]
    late = {"x": 0, "y": 0, "width": 96, "height": 64, "frames": [4, 4]}
    assert accepted(api, {"boxes": [late]})["source_key"] == by_id["source_key"]
    api.http.delete(f"/uploads/{mask['id']}")  # the job has its own copy


def test_the_run_may_find_it_itself(api: Api) -> None:
    auto = accepted(api, "auto")
    assert auto["region"] == {"mask": None, "word": None, "growth": 0, "softness": 0}
    assert accepted(api, {"auto": True})["source_key"] == auto["source_key"]
    assert accepted(api, {"auto": True, "growth": 4})["source_key"] != auto["source_key"]
    form = {"prompt": "A red car.", "source[prompt]": "A car.", "source[seed]": "3"}
    files = {name: (None, value) for name, value in (form | {"region": "auto"}).items()}
    assert api.http.post("/videos/edits", files=files).json()["region"] == auto["region"]


def test_a_word_of_the_sources_prompt(api: Api) -> None:
    by_word = accepted(api, {"word": " car"})
    assert by_word["region"] == {"mask": None, "word": "car", "growth": 0, "softness": 0}
    article = accepted(api, {"word": "A  car"})
    keys = {each["source_key"] for each in (by_word, article, accepted(api, "auto"))}
    assert len(keys) == 3
    error = error_of(edit(api, {"word": "red"}), 400)
    assert error["param"] == "region.word"
    assert "'red'" in error["message"]
    assert "'A car.'" in error["message"]


def test_the_region_that_was_used_is_shown(api: Api) -> None:
    video = api.get(accepted(api, {"boxes": [BOX]})["id"], wait=20)
    assert video["status"] == "completed"
    shown = api.http.get(f"/videos/{video['id']}/region")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(shown.content)).format == "PNG"
    remixed = api.http.post(f"/videos/{video['id']}/remix", json={"prompt": "A blue car."}).json()
    assert remixed["region"] is None
    without = api.http.get(f"/videos/{remixed['id']}/region")
    assert (without.status_code, error_of(without, 404)["param"]) == (404, "video_id")


def test_each_of_a_batch_has_its_own(api: Api) -> None:
    source = api.finished("A car.", num_frames=5)
    edits: list[dict[str, Any]] = [
        {"prompt": "A red car.", "region": {"boxes": [BOX]}},
        {"prompt": "A truck."},
    ]
    made = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits}).json()["data"]
    assert sorted(each["region"] is None for each in made) == [False, True]
    edits[1]["region"] = {"boxes": [{**BOX, "x": 90}]}
    refused = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits})
    assert error_of(refused, 400)["param"] == "edits.1.region.boxes.0"


@pytest.mark.parametrize(
    ("region", "more", "param"),
    [
        ({"boxes": [{**BOX, "x": 70}]}, {}, "region.boxes.0"),
        ({"boxes": [BOX, {**BOX, "frames": [3, 5]}]}, {}, "region.boxes.1.frames"),
        ({"boxes": [{**BOX, "frames": [3, 2]}]}, {}, "region.boxes.0"),
        ({"boxes": [{**BOX, "width": 0}]}, {}, "region.boxes.0.width"),
        ({"boxes": []}, {}, "region.boxes"),
        ({"boxes": [BOX], "growth": 513}, {}, "region.growth"),
        ({}, {}, "region"),
        ({"boxes": [BOX], **url(png())}, {}, "region"),
        ({"auto": False}, {}, "region.auto"),
        ({"word": "ca"}, {}, "region.word"),
        ({"word": " "}, {}, "region.word"),
        ({"word": "car", "auto": True}, {}, "region"),
        ("auto", {"transfer": {"anchor": None}}, "region"),
        ("everywhere", {}, "region"),
        (url(png(white=False)), {}, "region"),
        (url(png()[:60]), {}, "region"),
        (url(b"neither"), {}, "region"),
        (url(film(5)[:300]), {}, "region"),
        ({"image_url": "https://example.com/mask.png"}, {}, "region.image_url"),
        ({"boxes": [BOX]}, {"transfer": {"anchor": None}}, "region"),
        ({"boxes": [BOX]}, {"transfer": {"preset": "paper"}}, "region"),
    ],
)
def test_bad_regions_name_the_field(
    api: Api, region: Any, more: dict[str, Any], param: str
) -> None:
    error = error_of(edit(api, region, **more), 400)
    assert (error["param"] or "").startswith(param), error


def test_absent_masks_are_not_found(api: Api) -> None:
    refused = edit(api, {"id": f"upload_{'0' * 40}"})
    assert error_of(refused, 404)["param"] == "region.id"


def test_a_model_says_by_what_it_can(api: Api) -> None:
    assert api.http.get("/models/scenes").json()["region_kinds"] == [*CARD.region_kinds]
