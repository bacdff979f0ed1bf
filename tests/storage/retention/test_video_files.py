"""What is left behind goes, what is in use stays."""

import pytest

from bench.jobs import RESULT, make_spec
from storage.jobs.jobs import Jobs
from storage.objects.objects import ObjectStore
from storage.retention.video_files import FOLDERS, collect_videos


def left(objects: ObjectStore) -> set[str]:
    return {info.key for folder in FOLDERS for info in objects.list(folder)}


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_only_files_of_the_newest_claim_stay(jobs: Jobs, objects: ObjectStore) -> None:
    kept, gone = set(), set()
    for video_id in ("done", "running", "queued", "failed", "deleted"):
        await jobs.store.submit([make_spec(video_id)])
    for video_id in ("done", "running"):
        claim = await jobs.claims.claim(video_id, "worker", 60)
        assert claim is not None
        kept.add(f"videos/p/{video_id}/{claim.fence}/video.mp4")
        if video_id == "done":
            await jobs.claims.complete(claim, RESULT)
    await jobs.store.request_cancel("p", "failed")
    await jobs.store.delete("p", "deleted")
    kept |= {"journal/p/running/ab/000000", "journal/p/queued/ab/000000"}
    gone |= {f"journal/p/{video_id}/ab/000000" for video_id in ("done", "failed", "deleted")}
    gone |= {f"videos/p/{video_id}/1/video.mp4" for video_id in ("done", "failed", "deleted")}
    for key in kept | gone:
        objects.put(key, b"x")
    assert await collect_videos(objects, jobs.store, 3600) == 0, "all are young"
    assert await collect_videos(objects, jobs.store, -1) == len(gone)
    assert left(objects) == kept
    assert await collect_videos(objects, jobs.store, -1) == 0
