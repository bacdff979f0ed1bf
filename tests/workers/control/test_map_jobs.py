"""Map jobs through the ordinary protocol: a real Valkey, a folder, no model."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from schemas.artifacts import Manifest
from schemas.jobs import JobSpec
from schemas.maps import Look, MapView, map_id
from schemas.recipes import Recipe
from storage.artifact_index import ArtifactIndex
from storage.connect import open_redis
from storage.jobs.jobs import Jobs
from storage.objects.folder import FolderStore
from storage.objects.objects import Data, ObjectStore
from tests.storage.manifests import artifact, id_of
from tests.workers.control.test_run_job import unheard
from tests.workers.scripted import spec_of
from tests.workers.waiting import ended, events_of, stepped
from workers.control.dispatcher import routing_request_of
from workers.control.routing_request import RoutingRequest
from workers.control.run_job import JobContext, run_job
from workers.settings import WorkerSettings

VIEW = MapView(step=2, branch="uncond", layer=1, head=1)


def map_spec(recipe: Recipe, artifact_id: str, view: MapView = VIEW) -> JobSpec:
    look = Look(artifact_id=artifact_id, view=view)
    return JobSpec(
        id=map_id("tests", look),
        project="tests",
        recipe=recipe,
        source_key=recipe.key("tests"),
        priority="high",
        created_at=0,
        look=look,
    )


async def submit(jobs: Jobs, settings: WorkerSettings, spec: JobSpec, listed: Manifest) -> None:
    redis = open_redis(settings.storage)
    await ArtifactIndex(redis, prefix=settings.storage.redis_prefix).add(listed)
    await redis.aclose()
    await jobs.store.submit_map(spec, retry_s=0, max_open=None)


class TestProtocol:
    LISTED = artifact("tests")

    def spec(self, prompt: str = "") -> JobSpec:
        return map_spec(spec_of(1, prompt).recipe, id_of(self.LISTED))

    async def test_it_ends_with_one_picture_under_its_fence(
        self, context: JobContext, jobs: Jobs, objects: ObjectStore, settings: WorkerSettings
    ) -> None:
        spec = self.spec()
        await submit(jobs, settings, spec, self.LISTED)
        await run_job(context, spec.id, unheard)
        state = (await jobs.store.get("tests", spec.id)).state
        assert state.map is not None
        assert state.map.map_key == f"{spec.folder}/{state.fence}/map.png"
        assert [info.key for info in objects.list("maps")] == [state.map.map_key]
        assert objects.get(state.map.map_key) == VIEW.model_dump_json().encode()
        assert list(objects.list("videos")) == []
        types = [event.type for event in await events_of(jobs, spec.id)]
        assert types == ["queued", "started", *["progress"] * 4, "completed"]

    @pytest.mark.parametrize("end", ["cancelled", "deleted"])
    async def test_it_stops_at_its_next_step(
        self,
        context: JobContext,
        jobs: Jobs,
        objects: ObjectStore,
        settings: WorkerSettings,
        end: str,
    ) -> None:
        spec = self.spec("hold")
        await submit(jobs, settings, spec, self.LISTED)
        running = asyncio.create_task(run_job(context, spec.id, unheard))
        await stepped(jobs, spec.id)
        if end == "cancelled":
            await jobs.store.request_cancel("tests", spec.id)
            error = (await ended(jobs, spec.id)).state.error
            assert error is not None
            assert error.code == "cancelled"
        else:
            await jobs.store.delete("tests", spec.id)
        await running
        assert list(objects.list("maps")) == []

    async def test_one_that_is_lost_at_its_end_leaves_nothing(
        self,
        context: JobContext,
        jobs: Jobs,
        objects: ObjectStore,
        settings: WorkerSettings,
        tmp_path: Path,
    ) -> None:
        """Its artifact is deleted when its picture is written, and its end is not."""
        spec = self.spec()
        await submit(jobs, settings, spec, self.LISTED)
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        async def delete_artifact() -> None:
            redis = open_redis(settings.storage)
            index = ArtifactIndex(redis, prefix=settings.storage.redis_prefix)
            await index.remove("tests", id_of(self.LISTED))
            await redis.aclose()

        class Watched(FolderStore):
            def put(self, key: str, data: Data, **options: Any) -> bool:
                written = super().put(key, data, **options)
                if key.startswith("maps/"):
                    seen.append(key)
                    asyncio.run_coroutine_threadsafe(delete_artifact(), loop).result()
                return written

        store = Watched(tmp_path / "objects")
        await run_job(
            JobContext("worker-a", jobs.claims, store, context.engine, settings), spec.id, unheard
        )
        assert len(seen) == 1
        assert list(objects.list("maps")) == []

    def test_it_goes_where_the_sources_tensors_are(self) -> None:
        spec = self.spec()
        assert routing_request_of(spec) == RoutingRequest(spec.id, "scripted", spec.source_key)
