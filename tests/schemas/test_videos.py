"""The client's view of a job."""

import pytest

from schemas.attention import CaptureSpec
from schemas.jobs import JobError, JobResult, JobState
from schemas.videos import NOTHING_TO_KEEP, video_of
from tests.schemas.records import EDIT, EDIT_KEY, job

RESULT = JobResult(
    video_key="v", thumbnail_key="t", spritesheet_key="s", size_bytes=1, attention="stored"
)


def test_a_queued_video() -> None:
    video = video_of(job())
    assert (video.status, video.progress, video.attention) == ("queued", 0, None)
    assert (video.size, video.seconds, video.seed) == ("32x32", "0.625", 7)
    assert video.transfer is None


@pytest.mark.parametrize(("step", "progress"), [(0, 0), (1, 25), (4, 99)])
def test_progress_ends_at_99_until_the_video_is_stored(step: int, progress: int) -> None:
    state = JobState(status="in_progress", step=step, total_steps=4)
    assert video_of(job(state=state)).progress == progress


def test_a_completed_edit() -> None:
    state = JobState(status="completed", step=4, total_steps=4, completed_at=2, result=RESULT)
    video = video_of(job(EDIT, state, source_video_id="video_00000000"))
    assert (video.progress, video.attention, video.completed_at) == (100, "stored", 2)
    assert video.remixed_from_video_id == "video_00000000"
    assert (video.transfer, video.source_key) == (EDIT.transfer, EDIT_KEY)


def test_a_failed_video_says_why() -> None:
    error = JobError(code="out_of_memory", message="the worker ran out of memory")
    video = video_of(job(state=JobState(status="failed", step=4, total_steps=4, error=error)))
    assert (video.status, video.error, video.progress) == ("failed", error, 99)


KEEP = CaptureSpec(form="hidden")


@pytest.mark.parametrize(
    ("capture", "change", "kept", "why"),
    [
        (KEEP, {"artifact_key": "manifests/p/s/c.json"}, True, None),
        (KEEP, {"not_kept": "the disk was full"}, False, "the disk was full"),
        (KEEP, {}, False, None),  # from before reasons were kept
        (None, {}, False, NOTHING_TO_KEEP),
    ],
)
def test_a_completed_video_says_whether_its_attention_is_kept(
    capture: CaptureSpec | None, change: dict[str, str], kept: bool, why: str | None
) -> None:
    state = JobState(status="completed", result=RESULT.model_copy(update=change))
    video = video_of(job(state=state, capture=capture))
    assert (video.attention_kept, video.attention_not_kept) == (kept, why)
    assert video_of(job(capture=capture)).attention_kept is None, "not yet known"
