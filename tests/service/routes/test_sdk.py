"""The real OpenAI SDK, as it comes, sync and async, its retries on."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.service.conftest import Api
from tests.service.worker import Worker

EXTRA = {"seed": 7, "transfer": {"layers": [3], "steps": {"start": 0, "stop": 2}}}


@pytest.fixture
def sdk(api: Api) -> Iterator[openai.OpenAI]:
    with api.sdk() as client:
        yield client


def test_create_and_poll(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="A car.", seconds="2", size="96x64")  # type: ignore[arg-type]
    assert (video.status, video.progress, video.seconds, video.size) == (
        "completed", 100, "2.125", "96x64",
    )  # fmt: skip
    assert video.completed_at
    assert video.error is None


def test_own_fields_go_both_ways(sdk: openai.OpenAI) -> None:
    own = {"seed": 7, "num_inference_steps": 3, "guidance_scale": 2.5, "num_frames": 9, "fps": 9}
    video = sdk.videos.create(prompt="A car.", extra_body={**own, "capture": {"layers": [0, 3]}})
    found = sdk.videos.retrieve(video.id)
    assert {name: getattr(found, name) for name in own} == own


def test_polling_stops_at_a_failure_and_says_why(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="[fail]")
    assert video.status == "failed"
    assert video.error is not None
    assert (video.error.code, video.error.message) == ("generation_failed", "as asked")


def test_the_server_says_when_to_poll_again(sdk: openai.OpenAI, worker: Worker) -> None:
    video = sdk.videos.create(prompt="[hold]")
    response = sdk.videos.with_raw_response.retrieve(video.id)
    assert int(response.headers["openai-poll-after-ms"]) == 100
    sdk.post(f"/videos/{video.id}/cancel", cast_to=object)
    cancelled = sdk.videos.poll(video.id)
    assert cancelled.status == "failed"
    assert cancelled.error is not None
    assert cancelled.error.code == "cancelled"


def test_list_pages_both_ways(sdk: openai.OpenAI) -> None:
    made = [sdk.videos.create(prompt=f"A car, {index}.").id for index in range(5)]
    newest = [video.id for video in sdk.videos.list(limit=2)][:5]  # pages by itself
    assert newest == made[::-1]
    oldest_first = [video.id for video in sdk.videos.list(limit=2, order="asc", after=made[1])]
    assert oldest_first == made[2:]
    page = sdk.videos.list(limit=2, after=made[2])
    assert [video.id for video in page.data] == [made[1], made[0]]


def test_download_in_three_variants(sdk: openai.OpenAI, worker: Worker, tmp_path: Path) -> None:
    video = sdk.videos.create_and_poll(prompt="A car.")
    content = sdk.videos.download_content(video.id)
    content.write_to_file(tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == worker.video
    assert sdk.videos.download_content(video.id, variant="thumbnail").read() == b"thumbnail"
    assert sdk.videos.download_content(video.id, variant="spritesheet").read() == b"spritesheet"


def test_remix_keeps_the_shot(sdk: openai.OpenAI) -> None:
    source = sdk.videos.create_and_poll(prompt="A car.", extra_body={"seed": 7})
    video = sdk.videos.remix(source.id, prompt="A red car.")
    video = sdk.videos.poll(video.id)
    assert video.remixed_from_video_id == source.id
    assert video.seed == 7  # type: ignore[attr-defined]
    assert video.attention == "replayed"  # type: ignore[attr-defined]


def test_edit_by_id_as_json(sdk: openai.OpenAI) -> None:
    source = sdk.videos.create_and_poll(prompt="A car.")
    body = {"prompt": "A red car.", "video": {"id": source.id}, "transfer": EXTRA["transfer"]}
    video = sdk.post("/videos/edits", body=body, cast_to=openai.types.Video)
    assert video.remixed_from_video_id == source.id
    assert video.transfer["layers"] == [3]  # type: ignore[attr-defined]
    assert video.transfer["steps"] == [0, 1]  # type: ignore[attr-defined]


def test_nested_specs_survive_the_form(sdk: openai.OpenAI) -> None:
    """The edit's source by prompt and seed, all of it as flat form fields."""
    video = sdk.post(
        "/videos/edits",
        body={"prompt": "A red car.", "source": {"prompt": "A car.", "seed": 7}, **EXTRA},
        options={"headers": {"Content-Type": "multipart/form-data"}},
        cast_to=openai.types.Video,
    )
    assert video.seed == 7  # type: ignore[attr-defined]
    assert video.transfer["layers"] == [3]  # type: ignore[attr-defined]
    assert video.remixed_from_video_id is None


def test_delete(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="A car.")
    answer = sdk.videos.delete(video.id)
    assert (answer.id, answer.deleted, answer.object) == (video.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(video.id)


def test_pictures_extensions_and_characters_are_refused_clearly(sdk: openai.OpenAI) -> None:
    upload = ("film.mp4", b"bytes", "video/mp4")
    for call in (
        lambda: sdk.videos.create(prompt="A car.", input_reference=upload),
        lambda: sdk.videos.extend(prompt="On.", seconds="4", video=upload),
        lambda: sdk.videos.create_character(name="x", video=upload),
        lambda: sdk.videos.get_character("x"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            call()
        assert caught.value.code == "unsupported"


def test_errors_carry_all_four_fields_and_the_request_id(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.videos.create(prompt="A car.", model="sora-2")
    error = caught.value
    assert (error.code, error.param, error.type) == (
        "model_not_found", "model", "invalid_request_error",
    )  # fmt: skip
    assert "allowed are scenes" in str(error)
    assert error.request_id is not None


def test_models_are_listed(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["scenes"]
    model = sdk.models.retrieve("scenes")
    assert (model.layers, model.heads) == (4, 2)  # type: ignore[attr-defined]


async def test_the_async_client(api: Api, worker: Worker) -> None:
    async with openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="unused") as sdk:
        video = await sdk.videos.create_and_poll(prompt="A car.", extra_body={"seed": 7})
        edit = await sdk.videos.remix(video.id, prompt="A red car.")
        assert (await sdk.videos.poll(edit.id)).status == "completed"
        content = await sdk.videos.download_content(edit.id)
        assert content.read() == worker.video
        listed = [found.id async for found in sdk.videos.list(limit=1)][:2]
        assert listed == [edit.id, video.id]
        assert (await sdk.videos.delete(edit.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await sdk.videos.retrieve(edit.id)
