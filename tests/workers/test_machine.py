"""The machine as a worker process sees it, and what the defaults make of it."""

from pathlib import Path

import pytest

from storage.settings import StorageSettings
from workers import machine
from workers.artifacts.settings import ArtifactSettings
from workers.settings import BUNDLED, WorkerSettings

GiB = 1 << 30
STORAGE = StorageSettings(redis_url="redis://localhost", object_url="file:///unused")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 cores, 256 GiB, two GPUs."""
    monkeypatch.setattr(machine, "cores", lambda: 32)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 256 * GiB)
    monkeypatch.setattr(machine, "gpus", lambda: 2)


@pytest.mark.usefixtures("large")
def test_unset_defaults_follow_the_machine() -> None:
    fitted = ArtifactSettings().fitted(2)
    assert fitted.pool_bytes == fitted.host_cache_bytes == 4 * GiB
    assert fitted.window_bytes == 2 * GiB
    assert fitted.encode_threads == fitted.decode_threads == fitted.upload_threads == 8
    crowded = ArtifactSettings().fitted(16)
    assert (crowded.pool_bytes, crowded.encode_threads, crowded.upload_threads) == (GiB, 2, 4)


@pytest.mark.usefixtures("large")
def test_what_the_operator_set_stays() -> None:
    chosen = ArtifactSettings(pool_bytes=GiB // 2, encode_threads=1, host_cache_bytes=0)
    fitted = chosen.fitted(1)
    assert (fitted.pool_bytes, fitted.encode_threads, fitted.host_cache_bytes) == (GiB // 2, 1, 0)
    assert fitted.decode_threads == 8


def test_a_small_machine_keeps_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2 * GiB)
    assert ArtifactSettings().fitted(4) == ArtifactSettings()


@pytest.mark.usefixtures("large")
def test_processes_of_other_machines_do_not_count() -> None:
    def processes(**settings: object) -> int:
        return WorkerSettings(storage=STORAGE, **settings).processes_here()  # type: ignore[arg-type]  # pydantic's

    spread = (BUNDLED.model_copy(update={"ranks": 2}),)
    assert processes(replicas=8, num_gpus=1) == 2
    assert processes(replicas=8, num_gpus=0.5) == 4
    assert processes(replicas=1, models=spread, num_gpus=1) == 2
    assert processes(replicas=3, num_gpus=0) == 3


def test_a_container_may_have_less_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", limit)
    whole = machine.memory_bytes()
    limit.write_text("max\n")
    assert machine.memory_bytes() == whole
    limit.write_text("1048576\n")
    assert machine.memory_bytes() == 1 << 20


def test_gpus_are_counted_by_their_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr(machine, "_DEVICES", tmp_path)
    assert machine.gpus() == 2
