"""A stranger's film through the whole product: the SDK, the command, Ray, the bundled model."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import openai
import pytest
from PIL import Image
from typer.testing import CliRunner

from retake.cli import app
from retake.client import ApiError
from retake.stack import Stack
from retake.videos import read_video, structure_similarity
from training.drawing.films import draw_films
from training.drawing.scenes import draw_scenes

pytestmark = pytest.mark.ray

CAR = "A car is driving on the highway."
RED = "A red car is driving on the highway."
WINTER = "A car is driving on the highway in the winter."
SEED = 1 << 30  # of no film that the model was trained on
RATE = 48_000


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 of a drawn film, enlarged to 192x128, with two seconds of a tone."""
    scenes = draw_scenes([SEED], obj="car", place="highway", season="day")
    drawn = (draw_films(scenes).pixels[0].movedim(0, -1) * 255).byte().numpy()
    path = tmp_path_factory.mktemp("films") / "mine.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=8, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        track: Any = container.add_stream("aac", rate=RATE)
        for number, image in enumerate(drawn):
            frame = av.VideoFrame.from_ndarray(image.repeat(2, 0).repeat(2, 1), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        tone = np.sin(np.arange(2 * RATE) / 20).astype(np.float32)[None] / 2
        piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        piece.rate = RATE
        container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return path


def test_the_sdk_edits_a_strangers_film(sdk: openai.OpenAI, film: Path, tmp_path: Path) -> None:
    with film.open("rb") as file:
        first = sdk.videos.edit(prompt=RED, video=file, extra_body={"source_prompt": CAR})
    first = sdk.videos.poll(first.id, poll_interval_ms=100)
    assert first.status == "completed", first.error
    assert first.model_extra is not None
    fitted = first.model_extra["film"]
    assert (fitted["size"], fitted["taken"]) == ("192x128", [0, 0, 192, 128])
    assert (first.size, first.model_extra["num_frames"]) == ("96x64", 17)
    assert (first.model_extra["attention"], first.model_extra["cost"]) == ("stored", 0.2)

    body = {"prompt": WINTER, "source_prompt": CAR, "video": {"id": fitted["upload_id"]}}
    second = sdk.post("/videos/edits", body=body, cast_to=openai.types.Video)
    second = sdk.videos.poll(second.id, poll_interval_ms=100)
    assert second.status == "completed", second.error
    assert second.model_extra is not None
    assert second.model_extra["cost"] == 0.1

    third = sdk.videos.remix(first.id, prompt="A red car is driving on the highway at night.")
    assert sdk.videos.poll(third.id, poll_interval_ms=100).status == "completed"

    made = sdk.videos.download_content(first.id).read()
    (tmp_path / "red.mp4").write_bytes(made)
    with av.open(io.BytesIO(made), "r") as container:
        assert container.streams.audio
    source = read_video(film)[:, ::2, ::2]
    red = read_video(tmp_path / "red.mp4")
    assert structure_similarity(red, source) > 0.8
    assert (red.astype(int) - source)[..., 0].max() > 60  # somewhere it is redder


def test_the_command_edits_a_part_of_a_film(
    stack: Stack, sdk: openai.OpenAI, film: Path, tmp_path: Path
) -> None:
    out = tmp_path / "red.mp4"
    arguments = ["edit", str(film), "--source-prompt", CAR, "--prompt", RED, "--out", str(out)]
    where = ["--region", "box:0,24,96,24", "--softness", "4"]
    ran = CliRunner().invoke(app, [*arguments, *where, "--url", stack.base_url])
    assert ran.exit_code == 0, ran.output
    assert len(read_video(out)) == 17
    video = sdk.videos.list(limit=1).data[0]
    assert video.model_extra is not None
    metrics = video.model_extra["metrics"]
    assert (metrics["outside_psnr_db"], metrics["tokens_computed"]) == (100, 1)
    assert metrics["structure"] > 0.8
    shown = Image.open(io.BytesIO(sdk.get(f"/videos/{video.id}/region", cast_to=bytes)))
    assert (shown.size, shown.getpixel((0, 24)), shown.getpixel((0, 19))) == ((96, 64), 255, 0)
    mask = tmp_path / "black.png"
    Image.new("L", (96, 64)).save(mask)
    black = CliRunner().invoke(app, [*arguments, "--region", str(mask), "--url", stack.base_url])
    assert isinstance(black.exception, ApiError)
    assert "the mask is black everywhere" in str(black.exception)
    unknown = CliRunner().invoke(app, [*arguments, "--region", "box:1,2"])
    assert "is not box:x,y,width,height" in " ".join(unknown.output.split())
    refused = CliRunner().invoke(app, ["edit", str(film), "--prompt", RED])
    assert refused.exit_code != 0
    assert "--source-prompt is required" in refused.output
