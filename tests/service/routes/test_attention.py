"""Artifacts over HTTP: listed, looked at, deleted; and the estimate before anything runs."""

import asyncio
import time
from typing import Any

import pytest

from schemas.artifacts import Manifest, artifact_folder
from schemas.recipes import Recipe
from schemas.requests import Settings
from service.jobs.resolve import new_generation
from storage.artifact_index import ArtifactIndex
from storage.connect import open_objects, open_redis
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve
from tests.service.worker import CARD


def publish(
    storage: StorageSettings,
    source_key: str,
    video_id: str,
    capture: str = "c",
    project: str = "default",
    expires_at: int | None = None,
    prompt: str = "A car.",
    **fields: Any,
) -> str:
    """An artifact as a worker leaves it: packs, manifest, index; its id."""
    plain: dict[str, Any] = {
        "project": project,
        "source_key": source_key,
        "capture_key": capture * 32,
        "recipe": Recipe(generation=new_generation(Settings(seed=1), prompt, CARD)),
        "form": "hidden",
        "codec": "raw",
        "grid": (5, 4, 6),
        "layers": (3,),
        "steps": (0, 1),
        "branches": ("cond",),
        "stored_bytes": 123,
        "decoded_bytes": 0,
        "created_at": int(time.time()),
        "expires_at": expires_at,
        "packs": (),
    }
    manifest = Manifest(**plain | fields)
    objects = open_objects(storage)
    objects.put(f"{artifact_folder(project, source_key, capture * 32)}/a.pack", b"pack")
    objects.put(manifest.key, manifest.model_dump_json().encode())

    async def index() -> None:
        redis = open_redis(storage)
        await ArtifactIndex(redis, prefix=storage.redis_prefix).add(manifest, video_id=video_id)
        await redis.aclose()

    asyncio.run(index())
    return f"attn_{source_key}_{capture * 32}"


def objects_of(storage: StorageSettings, source_key: str) -> list[str]:
    found = open_objects(storage)
    return [
        info.key
        for folder in ("artifacts", "manifests")
        for info in found.list(f"{folder}/default/{source_key}")
    ]


def test_listed_and_looked_at(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve()
    video = api.finished()
    ids = [publish(own_storage, video["source_key"], video["id"], c) for c in "abc"]
    page = api.http.get("/attention/artifacts", params={"limit": 2}).json()
    assert [artifact["id"] for artifact in page["data"]] == [ids[2], ids[1]]
    assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, ids[1])
    rest = api.http.get("/attention/artifacts", params={"after": ids[1]}).json()
    assert [artifact["id"] for artifact in rest["data"]] == [ids[0]]
    found = api.http.get(f"/attention/artifacts/{ids[0]}").json()
    assert found["videos"] == [video["id"]]
    assert (found["form"], found["layers"], found["steps"], found["stored_bytes"]) == (
        "hidden", [3], [0, 1], 123,
    )  # fmt: skip
    assert found["recipe"]["generation"]["prompt"] == "A car."


def test_deleted_with_all_its_objects(api: Api, storage: StorageSettings) -> None:
    id = publish(storage, "1" * 64, "video_00000000")
    assert len(objects_of(storage, "1" * 64)) == 2
    answer = api.http.delete(f"/attention/artifacts/{id}").json()
    assert answer == {"id": id, "deleted": True, "object": "attention.artifact.deleted"}
    assert objects_of(storage, "1" * 64) == []
    assert api.http.get(f"/attention/artifacts/{id}").status_code == 404
    assert api.http.delete(f"/attention/artifacts/{id}").status_code == 404


def test_a_deleted_video_takes_its_attention_with_it(api: Api, storage: StorageSettings) -> None:
    video = api.finished(seed=77)
    id = publish(storage, video["source_key"], video["id"])
    api.http.delete(f"/videos/{video['id']}")
    assert objects_of(storage, video["source_key"]) == []
    assert api.http.get(f"/attention/artifacts/{id}").status_code == 404


def test_attention_that_another_video_shares_stays(api: Api, storage: StorageSettings) -> None:
    one, two = api.finished(seed=78), api.finished(seed=78)
    publish(storage, one["source_key"], one["id"])
    publish(storage, two["source_key"], two["id"])
    api.http.delete(f"/videos/{one['id']}")
    assert len(objects_of(storage, one["source_key"])) == 2
    api.http.delete(f"/videos/{two['id']}")
    assert objects_of(storage, one["source_key"]) == []


@pytest.mark.parametrize("id", ["attn_x", "x", "attn_" + "0" * 64 + "_" + "0" * 32, "a:b", "%00"])
def test_ids_that_are_none(api: Api, id: str) -> None:
    for method in ("GET", "DELETE"):
        assert api.http.request(method, f"/attention/artifacts/{id}").status_code == 404


def estimate(api: Api, **body: Any) -> Any:
    return api.http.post("/attention/estimate", json=body)


def test_the_estimate_of_a_generation(api: Api) -> None:
    found = estimate(api, num_frames=17, size="96x64").json()
    assert (found["model"], found["tokens"], found["grid"]) == ("scenes", 120, [5, 4, 6])
    sizes = {form["form"]: form["bytes"] for form in found["forms"]}
    places = 4 * 4  # layers and steps of branch cond, which edits with presets read
    latents = 4 * 120 * 4 * CARD.latent_channels * 4  # steps, tokens, patch, float32
    outputs = 2 * latents  # of both branches
    assert sizes["hidden"] == places * 120 * 64 * 4 + outputs
    assert sizes["qk"] == places * 2 * 120 * 64 * 4 + outputs
    assert sizes["latents"] == latents + outputs
    assert sizes["dense"] == places * 2 * 120 * 120 * 4
    assert found["chosen"] == "hidden"


def test_the_estimate_of_a_video(api: Api) -> None:
    video = api.finished(num_frames=9)
    found = estimate(api, video={"id": video["id"]}, capture={"form": None, "max_bytes": 300_000})
    assert (found.json()["tokens"], found.json()["chosen"]) == (72, "latents")


@pytest.mark.parametrize(
    ("body", "param", "status"),
    [
        ({"capture": {"layers": [9]}}, "capture.layers", 400),
        ({"transfer": {"steps": [9]}}, "transfer.steps", 400),
        ({"model": "wan"}, "model", 400),
        ({"video": {"id": "video_0000000000"}}, "video_id", 404),
        ({"size": "9x9"}, "size", 400),
        ({"capture": {"form": "hidden", "max_bytes": 1}}, "capture.max_bytes", 400),
    ],
)
def test_estimates_refuse_what_a_generation_would(
    api: Api, body: dict[str, Any], param: str, status: int
) -> None:
    response = estimate(api, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
