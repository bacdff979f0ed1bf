"""What a map job draws, on a tiny random Wan: from its artifact, or made again, the same map."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from schemas.artifacts import Manifest
from schemas.attention import CaptureSpec, Form, TransferSpec
from schemas.errors import NotFound
from schemas.jobs import Job, JobSpec, JobState
from schemas.maps import MapView
from schemas.recipes import Recipe
from storage.artifact_index import ArtifactIndex
from storage.connect import open_redis
from storage.jobs.jobs import Jobs
from storage.retention.artifact_files import list_manifests
from tests import tiny
from tests.storage.manifests import id_of
from tests.workers.control.test_map_jobs import VIEW, map_spec
from tests.workers.control.test_run_job import unheard
from tests.workers.engine.engines import open_engine
from tests.workers.engine.stores import Moody
from tests.workers.waiting import events_of
from workers.analysis.heatmap import picture
from workers.analysis.render_map import render_map
from workers.control.run_job import JobContext, run_job
from workers.engine.engine import PipelineEngine
from workers.settings import WorkerSettings


class Studio:
    """A worker with the tiny Wan, and what it has captured."""

    def __init__(
        self, engine: PipelineEngine, jobs: Jobs, objects: Moody, settings: WorkerSettings
    ) -> None:
        self.engine, self.jobs, self.objects = engine, jobs, objects
        self.settings = settings
        self.context = JobContext("worker-a", jobs.claims, objects, engine, settings)
        self.model = engine.model("tiny")
        self.plain = tiny.recipe(self.model)
        self.edit = Recipe(
            generation=tiny.recipe(self.model, "a dog").generation,
            source=self.plain,
            transfer=TransferSpec(steps=(0, 1)),
        )
        self.calls = 0
        block = next(self.model.hooks.transformers[0].get_submodule("blocks").children())
        block.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.calls += 1

    def capture(self, recipe: Recipe, **spec: object) -> Manifest:
        """The artifact of a run of ``recipe``."""
        job = JobSpec(
            id="video_00000001",
            project="tests",
            recipe=recipe,
            source_key=recipe.key("tests"),
            edit_source_key=recipe.source.key("tests") if recipe.source else None,
            capture=CaptureSpec.model_validate({"scope": "everything", **spec}),
            created_at=0,
        )
        film = self.engine.render(Job(spec=job, state=JobState()), lambda step, total: None)
        assert film.captured is not None
        key = film.captured.publish()
        return next(each for each in list_manifests(self.objects) if each.key == key)

    async def drawn(self, recipe: Recipe, kept: Manifest, view: MapView = VIEW) -> bytes:
        """The picture that a map job of the artifact ``kept`` leaves."""
        spec = map_spec(recipe, id_of(kept), view)
        await self.jobs.store.submit_map(spec, retry_s=0, max_open=None)
        self.calls = 0
        await run_job(self.context, spec.id, unheard)
        state = (await self.jobs.store.get("tests", spec.id)).state
        assert state.map is not None, state.error
        return self.objects.get(state.map.map_key)

    def expected(self, recipe: Recipe, view: MapView = VIEW) -> bytes:
        return picture(render_map(self.model, recipe, view.place, bins=view.bins))


@pytest.fixture
def studio(
    model_folder: Path, settings: WorkerSettings, jobs: Jobs, tmp_path: Path
) -> Iterator[Studio]:
    objects = Moody(tmp_path / "objects")
    engine = open_engine(model_folder, settings, objects, journal_after_s=3600.0)
    yield Studio(engine, jobs, objects, settings)
    engine.close()


def pixels(png: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(Image.open(io.BytesIO(png)).tobytes()), dtype=torch.uint8)


class TestPictures:
    @pytest.mark.parametrize("form", ["hidden", "qk"])
    async def test_from_what_is_stored(self, studio: Studio, form: Form) -> None:
        kept = studio.capture(studio.plain, form=form, codec="raw")
        png = await studio.drawn(studio.plain, kept)
        assert studio.calls == 2, "one step, of two branches"
        made_again = pixels(studio.expected(studio.plain)).int()
        assert (pixels(png).int() - made_again).abs().max() <= 1

    @pytest.mark.parametrize("spec", [{"form": "latents"}, {"layers": [0]}, {"steps": [0]}])
    async def test_what_is_not_stored_is_made_again(
        self, studio: Studio, spec: dict[str, object]
    ) -> None:
        kept = studio.capture(studio.plain, **spec)
        png = await studio.drawn(studio.plain, kept)
        assert studio.calls == 2 * (VIEW.step + 1), "up to the step and no further"
        assert png == studio.expected(studio.plain)
        events = await events_of(studio.jobs, map_spec(studio.plain, id_of(kept)).id)
        steps = [event.data["step"] for event in events if event.type == "progress"]
        assert steps == [1, 2, 3]

    async def test_a_store_that_does_not_answer(self, studio: Studio) -> None:
        """A generation is made again; an edit cannot be, and waits for another attempt."""
        plain, edit = studio.capture(studio.plain), studio.capture(studio.edit, form="qk")
        studio.objects.down = True
        assert await studio.drawn(studio.plain, plain) == studio.expected(studio.plain)
        spec = map_spec(studio.edit, id_of(edit))
        await studio.jobs.store.submit_map(spec, retry_s=0, max_open=None)
        await run_job(studio.context, spec.id, unheard)
        state = (await studio.jobs.store.get("tests", spec.id)).state
        assert (state.status, state.attempts) == ("queued", 0)
        studio.objects.down = False
        await studio.drawn(studio.edit, edit)

    async def test_damaged_attention_is_gone_and_its_maps_with_it(self, studio: Studio) -> None:
        kept = studio.capture(studio.plain)
        for pack in kept.packs:
            studio.objects.put(f"{kept.folder}/{pack.name}", bytes(pack.size))
        spec = map_spec(studio.plain, id_of(kept))
        await studio.jobs.store.submit_map(spec, retry_s=0, max_open=None)
        await run_job(studio.context, spec.id, unheard)
        with pytest.raises(NotFound):
            await studio.jobs.store.get("tests", spec.id)
        assert list(studio.objects.list("maps")) == []
        assert list(list_manifests(studio.objects)) == [], "it was set aside"

    async def test_of_an_edit(self, studio: Studio) -> None:
        """Where the source's maps were put in, the edit's are the source's."""
        kept = studio.capture(studio.edit, form="qk", codec="raw")
        source = studio.capture(studio.plain, form="qk", codec="raw")
        for step, same in ((1, True), (2, False)):
            view = VIEW.model_copy(update={"step": step})
            edits = pixels(await studio.drawn(studio.edit, kept, view)).int()
            sources = pixels(await studio.drawn(studio.plain, source, view)).int()
            assert ((edits - sources).abs().max() <= 1) == same

    async def test_no_video_uses_the_artifact_for_it(self, studio: Studio) -> None:
        kept = studio.capture(studio.plain)
        await studio.drawn(studio.plain, kept)
        redis = open_redis(studio.settings.storage)
        index = ArtifactIndex(redis, prefix=studio.settings.storage.redis_prefix)
        assert await index.videos("tests", id_of(kept)) == ["video_00000001"]
        await redis.aclose()

    async def test_a_kernel_that_shows_nothing(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = studio.capture(studio.plain)
        monkeypatch.setattr(
            "workers.analysis.render_map.Look.handle", lambda self, call, stock: stock()
        )
        spec = map_spec(studio.plain, id_of(kept))
        await studio.jobs.store.submit_map(spec, retry_s=0, max_open=None)
        await run_job(studio.context, spec.id, unheard)
        state = (await studio.jobs.store.get("tests", spec.id)).state
        assert (state.status, state.attempts) == ("failed", 1)
        assert state.error is not None
        assert state.error.code == "unsupported"
