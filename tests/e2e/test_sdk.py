"""The real OpenAI SDK against the running service: real Ray, real Valkey, the bundled model."""

from pathlib import Path

import openai
import pytest

from retake.videos import Frames, read_video, structure_similarity

pytestmark = pytest.mark.ray

CAR = "A car is driving on the highway."
WINTER = "A car is driving on the highway in the winter."
RED = "A red car is driving on the highway."
RECOLOUR = {"transfer": {"preset": "recolour"}}
FEW = {"num_inference_steps": 8}  # enough to see the shot; the demo runs the default


def _film(sdk: openai.OpenAI, video_id: str, path: Path) -> Frames:
    sdk.videos.download_content(video_id).write_to_file(path)
    return read_video(path)


def test_create_edit_and_delete(sdk: openai.OpenAI, tmp_path: Path) -> None:
    source = sdk.videos.create_and_poll(
        prompt=CAR, extra_body={"seed": 1, "capture": True}, poll_interval_ms=100
    )
    assert source.status == "completed", source.error
    assert source.progress == 100

    edit = sdk.videos.poll(
        sdk.videos.remix(source.id, prompt=RED, extra_body=RECOLOUR).id, poll_interval_ms=100
    )
    assert edit.status == "completed", edit.error
    assert edit.remixed_from_video_id == source.id
    assert edit.model_extra is not None
    assert edit.model_extra["attention"] == "stored"
    assert edit.model_extra["seed"] == 1

    plain = sdk.videos.create_and_poll(prompt=RED, extra_body={"seed": 1}, poll_interval_ms=100)
    films = {
        video.id: _film(sdk, video.id, tmp_path / f"{video.id}.mp4")
        for video in (source, edit, plain)
    }
    kept, lost = (
        structure_similarity(films[video.id], films[source.id]) for video in (edit, plain)
    )
    assert kept > lost, "the edit must be nearer to the source than a plain re-generation"
    assert (films[edit.id] != films[source.id]).any(), "the edit must not be the source again"

    listed = [video.id for video in sdk.videos.list(limit=2)]
    assert {source.id, edit.id, plain.id} <= set(listed), "paging must reach every video"
    for picture in (
        sdk.videos.download_content(source.id, variant="thumbnail"),
        sdk.videos.download_content(source.id, variant="spritesheet"),
    ):
        assert picture.read().startswith(b"RIFF"), "both are WebP"

    assert sdk.videos.delete(edit.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(edit.id)


def test_an_edit_by_prompt_and_seed_without_artifact_replays_the_source(
    sdk: openai.OpenAI, tmp_path: Path
) -> None:
    body = {
        "prompt": WINTER,
        "source": {"prompt": CAR, "seed": 11, **FEW},
    }
    replayed = sdk.post("/videos/edits", body=body, cast_to=openai.types.Video)
    replayed = sdk.videos.poll(replayed.id, poll_interval_ms=100)
    assert replayed.status == "completed", replayed.error
    assert replayed.model_extra is not None
    assert replayed.model_extra["attention"] == "replayed"

    source = sdk.videos.create_and_poll(
        prompt=CAR, extra_body={"seed": 11, "capture": True, **FEW}, poll_interval_ms=100
    )
    stored = sdk.post("/videos/edits", body=body, cast_to=openai.types.Video)
    stored = sdk.videos.poll(stored.id, poll_interval_ms=100)
    assert stored.model_extra is not None
    assert stored.model_extra["attention"] == "stored", "found by prompt and seed, not by id"
    assert stored.model_extra["source_key"] == replayed.model_extra["source_key"]

    one, other = (
        _film(sdk, video.id, tmp_path / f"{video.id}.mp4").astype(float)
        for video in (replayed, stored)
    )
    assert abs(one - other).mean() < 1.0, "replay and stored maps must give the same film"
    assert sdk.videos.retrieve(source.id).status == "completed"


def test_self_transfer_gives_the_source_back(sdk: openai.OpenAI, tmp_path: Path) -> None:
    source = sdk.videos.create_and_poll(
        prompt=CAR, extra_body={"seed": 5, "capture": True, **FEW}, poll_interval_ms=100
    )
    again = sdk.videos.poll(sdk.videos.remix(source.id, prompt=CAR).id, poll_interval_ms=100)
    ours, theirs = (sdk.videos.download_content(video.id).read() for video in (source, again))
    assert ours == theirs, "a run with its own maps must be itself, to the byte"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": CAR, "model": "gpt"}, "model"),
        ({"prompt": CAR, "num_inference_steps": 0}, "num_inference_steps"),
        ({"prompt": CAR, "size": "9x9"}, "size"),
        ({"prompt": CAR, "seed": "seven"}, "seed"),
        ({"prompt": CAR, "capture": {"layers": [999]}}, "capture.layers"),
    ],
)
def test_bad_input_names_the_field(sdk: openai.OpenAI, body: dict[str, object], param: str) -> None:
    before = sdk.videos.list(limit=1).data
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.post("/videos", body=body, cast_to=openai.types.Video)
    assert refused.value.param == param
    assert sdk.videos.list(limit=1).data == before, "nothing may be queued"
