"""The state of uploads in pieces: of two senders one goes on, and bytes are counted once."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from schemas.errors import NotFound
from storage.limits import Limits, ProjectLimits
from storage.objects.folder import FolderStore
from storage.resumable_uploads import ResumableUploads, folder_of
from storage.retention.upload_files import collect_pieces

LATER = 2**31


async def test_of_two_senders_one_goes_on(redis: Redis, prefix: str) -> None:
    uploads = ResumableUploads(redis, prefix=prefix)
    await uploads.begin("p", "a", length=100, filename="ä.mp4", expires_at=LATER)
    senders = [
        uploads.append("p", "a", offset=0, size_bytes=40, part=f"0-{n}", expires_at=LATER)
        for n in range(2)
    ]
    assert sorted(await asyncio.gather(*senders)) == [False, True]
    assert await uploads.append("p", "a", offset=40, size_bytes=10, part="40", expires_at=LATER)
    held = await uploads.get("p", "a")
    assert (held.offset, held.parts[1:], held.filename) == (50, ["40"], "ä.mp4")
    assert not await uploads.append("p", "b", offset=0, size_bytes=1, part="0", expires_at=LATER)
    with pytest.raises(NotFound):
        await uploads.get("other", "a")


async def test_what_is_announced_counts_until_it_ends(redis: Redis, prefix: str) -> None:
    uploads = ResumableUploads(redis, prefix=prefix)
    limits = Limits(redis, ProjectLimits(), prefix=prefix)
    for id, expires_at in (("a", 10), ("b", LATER), ("c", LATER)):
        await uploads.begin("p", id, length=100, filename="", expires_at=expires_at)
    assert await limits.stored_bytes("p") == 300
    await uploads.finish("p", "b", "upload_1")
    await uploads.finish("p", "b", "upload_2")
    assert (await uploads.get("p", "b")).upload_id == "upload_1"
    assert await limits.stored_bytes("p") == 200
    assert await uploads.list_expired(20) == [("p", "a")]
    assert not await uploads.remove("p", "c", before=20)
    assert await uploads.remove("p", "a", before=20)
    assert not await uploads.remove("p", "a")
    assert await uploads.remove("p", "b")
    assert await limits.stored_bytes("p") == 100
    assert await uploads.remove("p", "c")
    assert await limits.stored_bytes("p") == 0


async def test_pieces_that_nobody_knows_are_collected(
    redis: Redis, prefix: str, tmp_path: Path
) -> None:
    uploads, objects = ResumableUploads(redis, prefix=prefix), FolderStore(tmp_path)
    await uploads.begin("p", "a", length=9, filename="", expires_at=LATER)
    for id in ("a", "b"):
        objects.put(f"{folder_of('p', id)}/0", b"x")
    assert await collect_pieces(objects, uploads, 3600) == 0
    assert await collect_pieces(objects, uploads, -1) == 1
    assert [info.key for info in objects.list("resumable")] == ["resumable/p/a/0"]
