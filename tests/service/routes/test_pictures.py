"""Videos that start from a picture: sent in each way, kept by edits or changed, refused clearly."""

from collections.abc import Iterator
from typing import Any

import pytest

from storage.connect import open_objects
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve
from tests.service.pictured import OTHER, PNG, name_of, pictures_of, url
from tests.service.wire.test_bad_input import error_of

Form = dict[str, Any]


@pytest.fixture
def api(picture_api: Api) -> Api:
    return picture_api


@pytest.fixture
def objects(picture_storage: StorageSettings) -> Iterator[ObjectStore]:
    store = open_objects(picture_storage)
    yield store
    store.close()


def test_by_the_sdk_as_a_file(api: Api, objects: ObjectStore) -> None:
    with api.sdk() as sdk:
        video = sdk.videos.create_and_poll(
            prompt="A car.",
            model="wan-i2v",
            input_reference=("shot.png", PNG, "image/png"),
            extra_body={"seed": 7, "input_reference_fit": "stretch"},
        )
    assert video.status == "completed"
    shown = {"sha256": name_of(PNG), "fit": "stretch"}
    assert video.input_reference == shown  # type: ignore[attr-defined]  # ours
    assert pictures_of(objects, video.id) == {name_of(PNG)}


def test_as_a_data_url(api: Api, objects: ObjectStore) -> None:
    video = api.create(model="wan-i2v", seed=7, input_reference=url(PNG))
    assert video["input_reference"] == {"sha256": name_of(PNG), "fit": "crop"}
    assert pictures_of(objects, video["id"]) == {name_of(PNG)}
    form: Form = {"prompt": (None, "A car."), "model": (None, "wan-i2v"), "seed": (None, "7")}
    named = {"input_reference[image_url]": (None, url(PNG)["image_url"])}
    again = api.http.post("/videos", files={**form, **named}).json()
    assert again["input_reference"] == video["input_reference"]
    file = {"input_reference": ("a.webp", PNG, "application/octet-stream")}
    by_file = api.http.post("/videos", files={**form, **file}).json()
    assert by_file["source_key"] == again["source_key"] == video["source_key"]


def test_it_is_part_of_the_key(api: Api) -> None:
    def key(model: str, **body: Any) -> Any:
        return api.create(model=model, seed=7, **body)["source_key"]

    plain = key("either")
    first, other = (key("either", input_reference=url(data)) for data in (PNG, OTHER))
    assert len({plain, first, other}) == 3
    # a way to fit that changes nothing changes no key; one that does, does
    assert key("either", input_reference=url(PNG), input_reference_fit="pad") == first
    tall = {"input_reference": url(PNG), "size": "64x96"}
    fits = {key("either", **tall, input_reference_fit=fit) for fit in ("crop", "pad", "stretch")}
    assert len(fits) == 3


def test_an_edit_keeps_it_or_changes_it(api: Api, objects: ObjectStore) -> None:
    source = api.finished(model="wan-i2v", input_reference=url(PNG))
    with api.sdk() as sdk:
        kept = sdk.videos.poll(sdk.videos.remix(source["id"], prompt="A red car.").id)
    assert kept.input_reference == source["input_reference"]  # type: ignore[attr-defined]  # ours
    body = {"prompt": "A car.", "video": {"id": source["id"]}, "input_reference": url(OTHER)}
    changed = api.http.post("/videos/edits", json=body).json()
    assert changed["input_reference"]["sha256"] == name_of(OTHER)
    assert changed["source_key"] != source["source_key"]
    # both are there for a replay, also when the source is not
    assert pictures_of(objects, changed["id"]) == {name_of(PNG), name_of(OTHER)}
    assert api.get(changed["id"], wait=20)["status"] == "completed"
    api.http.delete(f"/videos/{source['id']}")
    assert pictures_of(objects, source["id"]) == set()
    assert pictures_of(objects, kept.id) == {name_of(PNG)}
    third = api.http.post(f"/videos/{changed['id']}/remix", json={"prompt": "A van."}).json()
    assert third["input_reference"]["sha256"] == name_of(OTHER)
    assert pictures_of(objects, third["id"]) == {name_of(PNG), name_of(OTHER)}


def test_many_edits_of_one_source(api: Api, objects: ObjectStore) -> None:
    source = api.finished(model="wan-i2v", input_reference=url(PNG))
    edits = [{"prompt": "A red car."}, {"prompt": "A car.", "input_reference": url(OTHER)}]
    response = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits})
    first, second = response.json()["data"]
    assert pictures_of(objects, first["id"]) == {name_of(PNG)}
    assert pictures_of(objects, second["id"]) == {name_of(PNG), name_of(OTHER)}


def test_a_source_named_by_prompt_brings_its_own(api: Api, objects: ObjectStore) -> None:
    source = {"prompt": "A car.", "seed": 7, "model": "wan-i2v"}
    body = {"prompt": "A red car.", "source": {**source, "input_reference": url(PNG)}}
    edit = api.http.post("/videos/edits", json=body).json()
    assert edit["input_reference"]["sha256"] == name_of(PNG)
    assert pictures_of(objects, edit["id"]) == {name_of(PNG)}
    error = error_of(api.http.post("/videos/edits", json={**body, "source": source}), 400)
    assert error["param"] == "source.input_reference"


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        (
            {"model": "scenes", "input_reference": url(PNG)}, 400, "input_reference",
            "model 'scenes' starts from text alone; those that take a picture: either, wan-i2v",
        ),
        (
            {"model": "wan-i2v"}, 400, "input_reference",
            "is required: model 'wan-i2v' starts from a picture",
        ),
        (
            {"model": "either", "input_reference": {"image_url": "http://x/a.png"}},
            400, "input_reference.image_url",
            "'http://x/a.png' is not allowed: no address is fetched",
        ),
        (
            {"model": "either", "input_reference": {"image_url": "file:///etc/passwd"}},
            400, "input_reference.image_url", "no address is fetched",
        ),
        (
            {"model": "either", "input_reference": url(b"no picture")},
            400, "input_reference", "allowed are PNG, JPEG and WebP",
        ),
        (
            {"model": "either", "input_reference": url(bytes(1 << 20) + b"x")},
            413, "input_reference", "1048577 bytes; allowed are 1048576",
        ),
        (
            {"model": "either", "input_reference": url(PNG), "input_reference_fit": "zoom"},
            400, "input_reference_fit", "'crop', 'pad' or 'stretch'",
        ),
        (
            {"model": "either", "input_reference_fit": "crop"}, 400, None,
            "input_reference_fit needs an input_reference",
        ),
        (
            {"model": "either", "input_reference": "a.png"}, 400, "input_reference",
            "'a.png' is not allowed",
        ),
        (
            {"model": "either", "input_reference": {"file_id": "file_1"}},
            400, "input_reference.file_id", "'file_1' is not allowed: allowed is the id of an up",
        ),
        (
            {"model": "either", "input_reference": {}},
            400, "input_reference", "give image_url or file_id, one of the two",
        ),
    ],
)  # fmt: skip
def test_refusals(
    api: Api, body: dict[str, Any], status: int, param: str | None, says: str
) -> None:
    error = error_of(api.http.post("/videos", json={"prompt": "A car.", **body}), status)
    assert error["param"] == param
    assert says in error["message"]


def test_a_model_card_says_what_it_takes(api: Api) -> None:
    models = {model["id"]: model for model in api.http.get("/models").json()["data"]}
    assert models["scenes"]["inputs"] == ["text"]
    assert models["either"]["inputs"] == ["text", "image"]
    assert models["either"]["required_inputs"] == ["text"]
    assert models["wan-i2v"]["required_inputs"] == ["text", "image"]


def test_what_is_no_picture_in_a_body_stays_within_the_limit(serve: Serve) -> None:
    api = serve(max_body_bytes=4096, max_picture_bytes=1 << 20, worker=False)
    long = {"prompt": "x" * 5000, "input_reference": url(PNG)}
    assert error_of(api.http.post("/videos", json=long), 413)
    form: Form = {"prompt": (None, "x" * 5000), "input_reference": ("a.png", PNG, "image/png")}
    assert error_of(api.http.post("/videos", files=form), 413)
    large: Form = {"prompt": (None, "x"), "input_reference": ("a.png", bytes(3 << 20), "image/png")}
    assert error_of(api.http.post("/videos", files=large), 413)


def test_files_of_other_names_and_empty_ones(api: Api) -> None:
    form: Form = {"prompt": (None, "A car."), "model": (None, "either")}
    error = error_of(api.http.post("/videos", files={**form, "video": ("a.mp4", b"x")}), 400)
    assert error["param"] == "video"
    none = api.http.post("/videos", files={**form, "input_reference": ("", b"")})
    assert none.json()["input_reference"] is None
    twice = [*form.items(), *[("input_reference", ("a.png", PNG))] * 2]
    assert "given twice" in error_of(api.http.post("/videos", files=twice), 400)["message"]


def test_a_repeated_request_is_one_job_and_another_picture_is_another_body(api: Api) -> None:
    headers = {"idempotency-key": "pictures-1"}
    body = {"prompt": "A car.", "model": "either", "seed": 7, "input_reference": url(PNG)}
    first, again = (api.http.post("/videos", json=body, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = {**body, "input_reference": url(OTHER)}
    error_of(api.http.post("/videos", json=other, headers=headers), 422)
