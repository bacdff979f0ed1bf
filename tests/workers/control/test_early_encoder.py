"""An mp4 whose frames come piece by piece, before it is known that they are the video's."""

import threading
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from schemas.films.region import EditRegion
from schemas.recipes import Recipe
from storage.jobs.jobs import Jobs
from tests.workers.control.test_run_job import run
from tests.workers.scripted import frames_of, spec_of
from workers.control import media
from workers.control.early_encoder import EarlyEncoder, is_decoded_as_shown
from workers.control.media import encode_media
from workers.control.mp4 import Frames
from workers.control.run_job import JobContext
from workers.media_settings import MediaSettings

RECIPE = spec_of(1).recipe
FPS = RECIPE.generation.fps


def take(early: EarlyEncoder, frames: Frames) -> None:
    early.take(lambda: frames[:1], True)
    early.take(lambda: frames[1:], False)


@pytest.mark.parametrize(
    "settings", [MediaSettings(), MediaSettings(upscale=3), MediaSettings(crf=30, preset="slow")]
)
def test_the_file_is_that_of_all_frames_at_once(settings: MediaSettings) -> None:
    frames = frames_of(1)
    with closing(EarlyEncoder(RECIPE, settings)) as early:
        take(early, frames)
        assert early.video_of(frames) == encode_media(frames, FPS, settings).video


def test_frames_are_encoded_before_the_last_have_come() -> None:
    asked, frames = threading.Event(), frames_of(1)

    def told() -> Frames:
        asked.set()
        return frames[:1]

    with closing(EarlyEncoder(RECIPE, MediaSettings())) as early:
        early.take(told, True)
        assert asked.wait(60)
        early.take(lambda: frames[1:], False)
        assert early.video_of(frames) is not None


def test_the_last_video_that_began_counts() -> None:
    source, edit = frames_of(1), frames_of(2)
    with closing(EarlyEncoder(RECIPE, MediaSettings())) as early:
        take(early, source)
        take(early, edit)
        assert early.video_of(edit) == encode_media(edit, FPS, MediaSettings()).video


def one_changed() -> Frames:
    frames = frames_of(1).copy()
    frames[-1, -1, -1, -1] ^= 1
    return frames


@pytest.mark.parametrize(
    "shown", [frames_of(2), frames_of(1)[:4], np.concatenate([frames_of(1)] * 2), one_changed()]
)
def test_other_frames_than_came_early_have_no_file(shown: Frames) -> None:
    with closing(EarlyEncoder(RECIPE, MediaSettings())) as early:
        take(early, frames_of(1))
        assert early.video_of(shown) is None


def test_a_file_of_another_length_than_was_planned_is_not_begun_early() -> None:
    """It would have another room for its index than the file that is made of all at once."""
    recipe = spec_of(1).recipe
    longer = recipe.generation.model_copy(update={"num_frames": 9})
    with closing(EarlyEncoder(Recipe(generation=longer), MediaSettings())) as early:
        take(early, frames_of(1))
        assert early.video_of(frames_of(1)) is None


def test_nothing_came_early() -> None:
    with closing(EarlyEncoder(RECIPE, MediaSettings())) as early:
        assert early.video_of(frames_of(1)) is None


def test_a_fault_of_a_piece_leaves_the_video_to_the_usual_way() -> None:
    def failing() -> Any:
        raise RuntimeError("a lost device")

    with closing(EarlyEncoder(RECIPE, MediaSettings())) as early:
        early.take(failing, True)
        early.take(lambda: frames_of(1)[1:], False)
        assert early.video_of(frames_of(1)) is None


def test_what_goes_in_behind_the_vae_is_waited_for() -> None:
    edit = spec_of(2, source=1).recipe
    assert is_decoded_as_shown(edit)
    in_region = edit.model_copy(update={"region": EditRegion(mask="0" * 64)})
    assert not is_decoded_as_shown(in_region)


async def test_a_file_that_was_made_while_frames_were_decoded_is_not_made_again(
    context: JobContext, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*_: object) -> bytes:
        raise AssertionError("encoded behind the last frame")

    monkeypatch.setattr(media, "encode_mp4", twice)
    assert (await run(context, jobs, 1)).state.status == "completed"
