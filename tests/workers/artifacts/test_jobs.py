"""Whole jobs on the tiny model while the store fails: every edit ends as its replay would."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.artifacts import Manifest
from schemas.attention import Anchor, CaptureSpec, TransferSpec
from schemas.capture_plan import INPUTS, MANIFEST_VERSION, Needed
from schemas.jobs import Job, JobSpec, JobState
from schemas.recipes import Recipe
from storage.objects.objects import ObjectStore
from storage.retention.artifact_files import list_manifests
from storage.settings import StorageSettings
from tests import tiny
from tests.faults import Fault, FaultyProxy
from tests.servers import Seaweed
from tests.workers.artifacts.captures import PROJECT
from tests.workers.artifacts.test_faults import cut, files_of_at_most, flip, lose
from workers.artifacts.read.plan import is_wanted
from workers.artifacts.settings import ArtifactSettings
from workers.control.engine_protocol import RenderedVideo
from workers.engine.engine import PipelineEngine
from workers.model_settings import ModelSettings
from workers.settings import WorkerSettings

ARTIFACTS = ArtifactSettings(
    pool_bytes=1 << 20, pack_bytes=8 << 10, frame_bytes=4 << 10, host_cache_bytes=0,
    store_patience_s=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(path, safe_serialization=True)
    return path


OpenEngine = Callable[[ObjectStore], PipelineEngine]


@pytest.fixture
def engine_on(folder: Path, valkey_url: str, tmp_path: Path) -> OpenEngine:
    def open_engine(objects: ObjectStore) -> PipelineEngine:
        model = ModelSettings(id="tiny", path=str(folder), dtype="float32", defaults=tiny.DEFAULTS)
        storage = StorageSettings(
            redis_url=valkey_url,
            object_url="file:///unused",
            redis_prefix=f"test-{tmp_path.name[-20:].lower().replace('_', '-')}",
        )
        settings = WorkerSettings(storage=storage, models=(model,), artifacts=ARTIFACTS)
        return PipelineEngine(settings, objects)

    return open_engine


def job(recipe: Recipe, **fields: Any) -> Job:
    source_key = recipe.source.key(PROJECT) if recipe.source else None
    spec = JobSpec(
        **{
            "id": "video_1",
            "project": PROJECT,
            "recipe": recipe,
            "source_key": recipe.key(PROJECT),
            "edit_source_key": source_key,
            "created_at": 0,
            **fields,
        }
    )
    return Job(spec=spec, state=JobState(status="in_progress"))


class Films:
    """A source and an edit of it, on one engine."""

    def __init__(self, engine: PipelineEngine, objects: ObjectStore) -> None:
        self.engine, self.objects = engine, objects
        model = engine.model("tiny")
        self.source = tiny.recipe(model)
        changed = self.source.generation.model_copy(update={"prompt": "a dog"})
        self.changed = Recipe(generation=changed, source=self.source, transfer=TransferSpec())

    def make_source(self, **spec: Any) -> str | None:
        """Its artifact's key; None: it was not kept."""
        film = self.render(job(self.source, capture=CaptureSpec(scope="everything", **spec)))
        assert film.captured is not None
        return film.captured.publish()

    def edit(self, anchor: Anchor | None = None) -> RenderedVideo:
        transfer = TransferSpec(anchor=anchor)
        return self.render(job(self.changed.model_copy(update={"transfer": transfer})))

    def render(self, job: Job) -> RenderedVideo:
        return self.engine.render(job, lambda step, total: None)

    def manifest(self) -> Manifest:
        (manifest,) = list_manifests(self.objects)
        return manifest


@pytest.fixture
def films(engine_on: OpenEngine, objects: ObjectStore) -> Films:
    return Films(engine_on(objects), objects)


def same(one: RenderedVideo, other: RenderedVideo) -> bool:
    return bool(np.array_equal(one.frames, other.frames))


@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_stored_is_as_replayed(films: Films, form: str) -> None:
    replayed = films.edit()
    assert replayed.attention == "replayed"
    assert films.make_source(form=form) == films.manifest().key
    stored = films.edit()
    assert stored.attention == "stored"
    # a batch of two is rounded otherwise than one video
    difference = np.abs(stored.frames.astype(int) - replayed.frames.astype(int))
    assert difference.max() <= 2


def test_own_maps_give_the_source_back(films: Films) -> None:
    plain = films.render(job(films.source))
    films.make_source()
    own = Recipe(generation=films.source.generation, source=films.source, transfer=TransferSpec())
    film = films.render(job(own))
    assert film.attention == "stored"
    assert same(film, plain)


@pytest.mark.parametrize("damage", [flip, cut, lose])
def test_damage_is_replayed_once_and_then_kept_anew(
    films: Films, damage: Callable[[ObjectStore, str], None]
) -> None:
    every_step = Anchor(interval=1)  # reads the outputs too, which end each pack
    replayed = films.edit(every_step)
    films.make_source()
    manifest = films.manifest()
    pack = next(each for each in manifest.packs if each.frames[0].branch == "cond")
    damage(films.objects, f"{manifest.folder}/{pack.name}")
    film = films.edit(every_step)
    assert film.attention == "replayed"
    assert same(film, replayed)
    assert list(list_manifests(films.objects)) == []
    assert films.make_source() is not None
    assert films.edit(every_step).attention == "stored"


def test_a_later_manifest_is_replayed(films: Films) -> None:
    films.make_source()
    later = {"version": MANIFEST_VERSION + 1}
    films.objects.put(films.manifest().key, json.dumps(later).encode())
    assert films.edit().attention == "replayed"


def test_expired_in_mid_edit(films: Films) -> None:
    replayed = films.edit()
    films.make_source()
    manifest = films.manifest()

    def expire(step: int, total: int) -> None:
        films.objects.delete(manifest.key)
        films.objects.delete_prefix(manifest.folder)

    small = films.engine._stores.artifacts.settings.model_copy(update={"window_bytes": 1 << 10})
    films.engine._stores.artifacts.settings = small  # so that it has not read everything by then
    film = films.engine.render(job(films.changed), expire)
    assert film.attention == "replayed"
    assert same(film, replayed)


def test_a_full_disk_costs_the_artifact_and_not_the_video(films: Films) -> None:
    plain = films.render(job(films.source))
    with files_of_at_most(1 << 10):
        film = films.render(job(films.source, capture=CaptureSpec(scope="everything")))
        assert film.captured is not None
        assert film.captured.publish() is None
    assert same(film, plain)
    assert list(films.objects.list("")) == []


@pytest.fixture
def stormy(
    engine_on: OpenEngine, open_s3: Callable[[str], ObjectStore], seaweed: Seaweed
) -> Iterator[tuple[Films, FaultyProxy]]:
    with FaultyProxy(seaweed.endpoint_url) as proxy, contextlib.ExitStack():
        objects = open_s3(proxy.url)
        yield Films(engine_on(objects), objects), proxy


def test_a_storm_of_503_ends_in_a_replay(stormy: tuple[Films, FaultyProxy]) -> None:
    films, proxy = stormy
    replayed = films.edit()
    films.make_source()
    proxy.add(Fault("GET", status=503), times=10_000)
    film = films.edit()
    assert film.attention == "replayed"
    assert same(film, replayed)
    proxy.faults.clear()
    assert films.edit().attention == "stored", "nothing was wrong with the artifact"


def test_a_storm_while_capturing_costs_the_artifact(stormy: tuple[Films, FaultyProxy]) -> None:
    films, proxy = stormy
    proxy.add(Fault("PUT", status=503), times=10_000)
    assert films.make_source() is None
    proxy.faults.clear()
    assert list(films.objects.list("")) == []


def test_latents_hold_the_inputs_of_every_step(films: Films) -> None:
    films.make_source(form="latents")
    frames = [frame for pack in films.manifest().packs for frame in pack.frames]
    assert {frame.layer for frame in frames} == {INPUTS}
    assert {frame.step for frame in frames if frame.name == "input"} == set(range(tiny.STEPS))


def test_layers_kept_beside_latents_are_read_and_those_below_rerun(films: Films) -> None:
    films.make_source(form="hidden")
    whole = films.edit()
    hidden = films.manifest()
    films.engine._stores.artifacts.quarantine(hidden)
    last = hidden.layers[-1]
    films.make_source(form=None, max_bytes=hidden.decoded_bytes - 1)
    kept = films.manifest()
    assert (kept.form, kept.hidden_layers) == ("latents", (last,))
    frames = [frame for pack in kept.packs for frame in pack.frames]
    assert {frame.layer for frame in frames} == {INPUTS, last}
    film = films.edit()
    assert film.attention == "stored"
    assert same(film, whole)


def test_an_edit_of_kept_layers_alone_reruns_nothing(films: Films) -> None:
    films.make_source(form="latents", max_bytes=1 << 30)
    kept = films.manifest()
    assert kept.hidden_layers == kept.layers
    needed = Needed(frozenset(kept.layers[1:]), frozenset(kept.steps), frozenset(kept.branches))
    assert kept.recomputed_layers(needed) == frozenset()
    wanted = [f for pack in kept.packs for f in pack.frames if is_wanted(f, kept, needed)]
    assert {f.layer for f in wanted if f.name == "hidden"} == set(kept.layers[1:])
    assert not [f for f in wanted if f.name == "input"]


def test_a_store_lost_behind_the_last_step_costs_the_artifact(
    stormy: tuple[Films, FaultyProxy],
) -> None:
    """Also where another had captured the same: nothing to write, and now nothing to read."""
    films, proxy = stormy
    films.make_source()
    film = films.render(job(films.source, capture=CaptureSpec(scope="everything")))
    assert film.captured is not None
    proxy.add(Fault("GET", status=503), times=10_000)
    assert film.captured.publish() is None
    proxy.faults.clear()
