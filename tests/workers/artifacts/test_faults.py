"""Damage on the way, in the store and on the disk: noticed, told, never used."""

import contextlib
import gc
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.artifacts import Manifest, artifact_id
from schemas.errors import ArtifactCorrupt, ArtifactWriteFailed
from storage.objects.folder import FolderStore
from storage.objects.objects import Data, ObjectStore, ObjectStoreError
from tests.faults import Fault, FaultyProxy
from tests.servers import Seaweed
from tests.workers.artifacts.captures import (
    GRID,
    PROJECT,
    SMALL,
    addresses,
    equal,
    everything,
    fill,
    plan,
    recipe,
    write,
)
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address, MapSink, MapSource, MemoryMaps

CPU = torch.device("cpu")
DEADLINE_S = 10
PLAN = plan()
CACHED = SMALL.model_copy(update={"host_cache_bytes": 1 << 20})
HURRIED = SMALL.model_copy(update={"store_patience_s": 0})


def read_all(store: ArtifactStore, manifest: Manifest, kept: MemoryMaps) -> None:
    """Everything, compared with what was captured."""
    with store.open_reader(manifest, everything(PLAN), CPU) as reader:
        compare(reader, kept)


def compare(source: MapSource, kept: MemoryMaps) -> None:
    for address in addresses(PLAN):
        assert equal(source.get(address, "hidden"), kept.get(address, "hidden"))


def fill_for_ever(sink: MapSink) -> None:
    """Until a failure behind the sink reaches the denoising."""
    while True:
        fill(sink, PLAN)


def found(store: ArtifactStore) -> Manifest | None:
    return store.find(PROJECT, recipe().key(PROJECT), everything(PLAN))


def a_pack(manifest: Manifest) -> str:
    return f"{manifest.folder}/{manifest.packs[3].name}"


def flip(objects: ObjectStore, key: str) -> None:
    data = bytearray(objects.get(key))
    data[len(data) // 2] ^= 1
    objects.put(key, data)


def cut(objects: ObjectStore, key: str) -> None:
    objects.put(key, objects.get(key)[:-1])


def lose(objects: ObjectStore, key: str) -> None:
    objects.delete(key)


@pytest.mark.parametrize("damage", [flip, cut, lose])
def test_damage_in_the_store_is_noticed_and_put_in_quarantine(
    store: ArtifactStore, objects: ObjectStore, damage: Callable[[ObjectStore, str], None]
) -> None:
    manifest, kept = write(store, PLAN)
    damage(objects, a_pack(manifest))
    with pytest.raises(ArtifactCorrupt):
        read_all(store, manifest, kept)
    assert store.corrupt == 1
    assert found(store) is None, "the next edit replays"
    assert [info.key for info in objects.list("quarantine")] == [f"quarantine/{manifest.key}"]
    write(store, PLAN)  # and may keep its own
    assert found(store) is not None


def test_a_bit_flipped_on_the_way_is_read_again(
    open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> None:
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        store = ArtifactStore(open_s3(proxy.url), CACHED)
        manifest, kept = write(store, PLAN)
        proxy.add(Fault("GET", flip_at=100), times=3)
        read_all(store, manifest, kept)
        assert not proxy.faults
        assert store.corrupt == 0
        read_all(store, manifest, kept)


def test_a_manifest_flipped_on_the_way_is_read_again(
    open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> None:
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        store = ArtifactStore(open_s3(proxy.url), SMALL)
        manifest, _ = write(store, PLAN)
        proxy.add(Fault("GET", flip_at=1), times=1)
        assert store.named(PROJECT, artifact_id(manifest.source_key, manifest.capture_key))
        assert not proxy.faults
        assert store.corrupt == 0


def test_a_storm_of_503_delays_and_does_no_more(
    open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> None:
    """More failures than the client's own retries take."""
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        store = ArtifactStore(open_s3(proxy.url), SMALL)
        proxy.add(Fault("PUT", status=503), times=20)
        manifest, kept = write(store, PLAN)
        proxy.add(Fault("GET", status=503), times=20)
        assert found(store) == manifest
        assert not proxy.faults
        proxy.add(Fault("GET", status=503), times=20)
        read_all(store, manifest, kept)
        assert not proxy.faults


def test_a_store_that_stays_away_stops_the_capture(
    open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> None:
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        store = ArtifactStore(open_s3(proxy.url), HURRIED)
        proxy.add(Fault("PUT", status=503), times=10_000)
        with (
            store.open_writer(project=PROJECT, recipe=recipe(), plan=PLAN, grid=GRID) as writer,
            pytest.raises(ArtifactWriteFailed) as failure,
        ):
            fill_for_ever(writer)
        assert isinstance(failure.value.__cause__, ObjectStoreError)
        proxy.faults.clear()
        assert found(store) is None


def test_a_store_that_stays_away_stops_the_edit(
    open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> None:
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        store = ArtifactStore(open_s3(proxy.url), HURRIED)
        manifest, kept = write(store, PLAN)
        proxy.add(Fault("GET", status=503), times=10_000)
        with pytest.raises(ObjectStoreError):
            read_all(store, manifest, kept)
        proxy.faults.clear()
        assert found(store) is not None, "nothing wrong with the artifact"


def test_a_full_disk_stops_the_capture_and_leaves_nothing(
    objects: ObjectStore,
) -> None:
    store = ArtifactStore(objects, HURRIED)
    with (
        store.open_writer(project=PROJECT, recipe=recipe(), plan=PLAN, grid=GRID) as writer,
        files_of_at_most(4 << 10),
        pytest.raises(ArtifactWriteFailed),
    ):
        fill_for_ever(writer)
    assert list(objects.list("")) == []


def test_a_full_cache_disk_costs_the_cache_only(objects: ObjectStore, tmp_path: Path) -> None:
    settings = SMALL.model_copy(
        update={"disk_cache_bytes": 1 << 20, "disk_cache_folder": str(tmp_path / "cache")}
    )
    store = ArtifactStore(objects, settings)
    manifest, kept = write(store, PLAN)
    with files_of_at_most(4 << 10):
        read_all(store, manifest, kept)
    assert list((tmp_path / "cache").iterdir()) == []


def test_expired_or_deleted_in_mid_edit(store: ArtifactStore, objects: ObjectStore) -> None:
    manifest, kept = write(store, PLAN)
    with store.open_reader(manifest, everything(PLAN), CPU) as reader:
        reader.get(Address(0, "cond", 0), "hidden")
        objects.delete_prefix(manifest.folder)
        objects.delete(manifest.key)
        with pytest.raises(ArtifactCorrupt):
            compare(reader, kept)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail in this process, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    gc.collect()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class Slow(FolderStore):
    """Writes its first pack only once ``awaited`` is true."""

    awaited: Callable[[], bool]

    def put(self, key: str, data: Data, **options: Any) -> bool:
        deadline = time.monotonic() + DEADLINE_S
        while key.endswith(".pack") and not self.awaited() and time.monotonic() < deadline:
            time.sleep(0.001)
        return super().put(key, data, **options)


def test_memory_is_bounded_by_the_pool(tmp_path: Path) -> None:
    """However large the artifact, and however slow the store."""
    objects = Slow(tmp_path)
    settings = ArtifactSettings(
        pool_bytes=80 << 10,
        pack_bytes=8 << 10,
        frame_bytes=4 << 10,
        upload_threads=1,
    )
    store = ArtifactStore(objects, settings)
    large = plan(layers=tuple(range(12)), codec="raw")
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=large, grid=GRID) as writer:
        objects.awaited = lambda: writer.pool.waited > 0
        fill(writer, large)
        manifest = writer.commit()
    assert manifest.decoded_bytes > 7 * settings.pool_bytes
    assert writer.pool.peak_bytes <= settings.pool_bytes
    assert writer.pool.waited > 0
