"""The object store's contract, for the folder and for S3 over HTTP alike."""

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from typing_extensions import Buffer

from storage.objects.objects import ObjectMissing, ObjectStore, ObjectTruncated
from storage.objects.s3_parts import PART_BYTES

BODY = os.urandom(300_000)
BIG = os.urandom(2 * PART_BYTES + 4097)  # three parts, the last one short


def read(store: ObjectStore, key: str, offset: int, count: int) -> bytes:
    buffer = bytearray(count)
    store.read_into(key, offset, memoryview(buffer))
    return bytes(buffer)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_what_was_put_is_read(objects: ObjectStore, wrap: Callable[[bytes], bytes]) -> None:
    assert objects.put("a/b.bin", wrap(BODY))
    assert objects.get("a/b.bin") == BODY
    assert objects.size("a/b.bin") == len(BODY)
    assert read(objects, "a/b.bin", 1000, 5000) == BODY[1000:6000]


@pytest.mark.parametrize("durable", [True, False])
def test_pieces_are_one_object(objects: ObjectStore, durable: bool) -> None:
    """Of any buffers, an empty one too."""
    pieces: list[Buffer] = [BODY[:1000], memoryview(BODY)[1000:2000], b"", bytearray(BODY[2000:])]
    assert objects.put("a", pieces, durable=durable)
    assert objects.get("a") == BODY


def test_an_empty_object_is_an_object(objects: ObjectStore) -> None:
    objects.put("empty", b"")
    assert objects.get("empty") == b""
    assert objects.size("empty") == 0


def test_put_replaces(objects: ObjectStore) -> None:
    objects.put("a", b"old and longer")
    before = objects.stat("a")
    objects.put("a", b"new")
    assert objects.get("a") == b"new"
    assert objects.stat("a").etag != before.etag


def test_reads_fill_a_typed_buffer(objects: ObjectStore) -> None:
    objects.put("a", BODY)
    words = memoryview(bytearray(4096)).cast("I")
    objects.read_into("a", 8, words)
    assert words.tobytes() == BODY[8 : 8 + 4096]


@pytest.mark.parametrize("offset", [len(BODY) - 10, len(BODY), len(BODY) + 5000])
def test_a_read_past_the_end_is_refused(objects: ObjectStore, offset: int) -> None:
    objects.put("a", BODY)
    with pytest.raises(ObjectTruncated):
        read(objects, "a", offset, 20)


def test_what_is_missing_is_missing(objects: ObjectStore) -> None:
    objects.put("a/b", b"1")
    for key in ("none", "a", "a/c", "a/b/c"):
        for ask in (objects.get, objects.size, objects.stat, lambda key: read(objects, key, 0, 1)):
            with pytest.raises(ObjectMissing):
                ask(key)
    objects.delete("none", "a", "a/c", "a/b/c")
    assert keys(objects) == ["a/b"]


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a\0", "a b",
     "é", "x" * 901, "a\n"],
)  # fmt: skip
def test_a_key_cannot_leave_its_place(objects: ObjectStore, key: str) -> None:
    asks: list[Callable[[str], object]] = [
        lambda key: objects.put(key, b""),
        objects.put_parts,
        objects.get,
        objects.size,
        objects.delete,
        lambda key: read(objects, key, 0, 1),
        lambda key: objects.presign(key, expires_s=60),
    ]
    for ask in asks[:-1] if objects.presign("a", expires_s=1) is None else asks:
        with pytest.raises(ValueError, match="not allowed"):
            ask(key)
    if key.strip("/"):
        with pytest.raises(ValueError, match="not allowed"):
            list(objects.list(f"{key}/x"))


def test_a_prefix_is_a_folder(objects: ObjectStore) -> None:
    for key in ("videos/a/1", "videos/a/2/3", "videos/ab/1", "other/a"):
        objects.put(key, key.encode())
    assert keys(objects, "videos/a") == keys(objects, "videos/a/") == ["videos/a/1", "videos/a/2/3"]
    assert keys(objects, "none") == []
    found = {info.key: info for info in objects.list("")}
    assert len(found) == 4
    assert found["other/a"] == objects.stat("other/a")

    objects.delete_prefix("videos/a")
    assert keys(objects) == ["other/a", "videos/ab/1"]


@pytest.mark.slow
def test_many_are_listed_and_deleted_at_once(objects: ObjectStore) -> None:
    names = [f"many/{number:04d}" for number in range(1100)]  # more than one page or batch
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: objects.put(key, b"x"), names))
    assert keys(objects, "many") == names
    objects.delete(*names[:1050])
    assert keys(objects, "many") == names[1050:]


def test_create_only_has_one_winner(objects: ObjectStore) -> None:
    ready = threading.Barrier(12)

    def write(number: int) -> bool:
        ready.wait()
        return objects.put("manifest", b"%d" % number, if_absent=True)

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(write, range(12)))
    assert won.count(True) == 1
    assert objects.get("manifest") == b"%d" % won.index(True)


@pytest.mark.parametrize("body", [BODY, BIG], ids=["small", "big"])
def test_parts_are_seen_only_once_committed(objects: ObjectStore, body: bytes) -> None:
    with objects.put_parts("v/a") as writer:
        block = bytearray(1_000_003)
        for first in range(0, len(body), len(block)):
            piece = body[first : first + len(block)]
            block[: len(piece)] = piece
            writer.write(memoryview(block)[: len(piece)])  # the buffer is used again at once
        assert keys(objects) == []
        assert writer.commit()
    assert objects.get("v/a") == body
    assert read(objects, "v/a", len(body) - 100, 100) == body[-100:]


@pytest.mark.parametrize("size", [10, len(BIG)])
def test_a_writer_that_fails_leaves_nothing(objects: ObjectStore, size: int) -> None:
    with contextlib.suppress(RuntimeError), objects.put_parts("v/a") as writer:
        writer.write(BIG[:size])
        raise RuntimeError
    assert keys(objects) == []
    assert objects.abort_unfinished(0) == 0
    for late in (lambda: writer.write(b"x"), writer.commit):
        with pytest.raises(ValueError, match=r"closed|committed or aborted"):
            late()
    writer.abort()


@pytest.mark.parametrize("body", [BODY, BIG], ids=["small", "big"])
def test_the_second_to_commit_a_new_object_is_told(objects: ObjectStore, body: bytes) -> None:
    with objects.put_parts("v/a") as first, objects.put_parts("v/a") as second:
        first.write(body)
        second.write(body[::-1])
        assert second.commit(if_absent=True)
        assert not first.commit(if_absent=True)
    assert objects.get("v/a") == body[::-1]
    assert objects.abort_unfinished(0) == 0


def test_what_a_crash_left_unfinished_is_dropped(objects: ObjectStore) -> None:
    writer = objects.put_parts("v/a")
    writer.write(BIG)  # and then its process dies: neither commit nor abort
    assert objects.abort_unfinished(3600) == 0
    assert objects.abort_unfinished(0) == 1
    assert keys(objects) == []


def test_a_store_in_reach_is_ready(objects: ObjectStore) -> None:
    objects.check()
