"""A real Ray with the Serve application on a Valkey of its own, and its processes."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from bench.processes import processes
from storage.connect import open_objects
from storage.embedded.valkey import EmbeddedValkey
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.workers.scripted import ScriptedEngine
from workers.deployment import OpenEngine
from workers.local import LocalWorkers
from workers.settings import WorkerSettings


@dataclass
class Cluster:
    settings: WorkerSettings
    valkey: EmbeddedValkey
    valkey_folder: Path
    workers: LocalWorkers
    objects: ObjectStore

    def pids_of(self, job_id: str) -> list[int]:
        """The processes that ran a job, in no order."""
        return [int(info.key.split("/")[-1]) for info in self.objects.list(f"pid/{job_id}")]

    def crash_valkey(self) -> None:
        """Kill it as a lost machine would, and start it again on what it wrote."""
        assert self.valkey.pid is not None
        os.kill(self.valkey.pid, signal.SIGKILL)
        self.valkey.stop()
        self.valkey.start(self.valkey_folder)


def open_cluster(
    folder: Path, open_engine: OpenEngine = ScriptedEngine, **settings: object
) -> Cluster:
    valkey = EmbeddedValkey()
    storage = StorageSettings(
        redis_url=valkey.start(folder / "valkey"), object_url=f"file://{folder / 'objects'}"
    )
    values: dict[str, object] = {"lease_s": 3.0, "longest_job_s": 60.0, **settings}
    chosen = WorkerSettings(storage=storage, **values)  # type: ignore[arg-type]  # checked by pydantic
    workers = LocalWorkers(chosen, open_engine)
    workers.start()
    return Cluster(chosen, valkey, folder / "valkey", workers, open_objects(storage))


def kill(title: str) -> int:
    """SIGKILL the oldest process of that title; its pid."""
    pid = processes(title)[0]
    os.kill(pid, signal.SIGKILL)
    return pid
