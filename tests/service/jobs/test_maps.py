"""Pictures of attention maps over HTTP: made once, by a job that no route of videos knows."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from schemas.base import canonical_hash
from schemas.maps import MapView
from schemas.recipes import Recipe
from schemas.requests import Settings
from service.jobs.resolve import new_generation
from storage.connect import open_objects, open_redis
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve
from tests.service.routes.test_attention import publish
from tests.service.worker import CARD, Worker, chart


def ask(api: Api, artifact_id: str, **query: Any) -> Any:
    return api.http.get(f"/attention/artifacts/{artifact_id}/map", params=query)


def pictures(storage: StorageSettings, project: str = "default") -> list[str]:
    return [info.key for info in open_objects(storage).list(f"maps/{project}")]


def error_of(response: Any) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


@pytest.fixture
def artifact(storage: StorageSettings, request: pytest.FixtureRequest) -> str:
    """One of the shared server's, of a source of its own."""
    return publish(storage, canonical_hash(request.node.name), "video_00000000")


def test_a_map_is_a_picture(api: Api, artifact: str) -> None:
    response = ask(api, artifact, layer=3, step=2, head=1, branch="uncond", bins=50)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    view = MapView(layer=3, step=2, head=1, branch="uncond", bins=50)
    assert response.content == chart(view)
    assert Image.open(io.BytesIO(response.content)).size == (50, 50)
    again = api.http.get(
        f"/attention/artifacts/{artifact}/map?layer=3&step=2&head=1&branch=uncond&bins=50",
        headers={"if-none-match": response.headers["etag"]},
    )
    assert (again.status_code, again.content) == (304, b"")
    assert "immutable" in response.headers["cache-control"]


def test_no_more_bins_than_tokens(api: Api, artifact: str) -> None:
    """So that 512 and 1,024 of 120 tokens are one picture, not two."""
    assert Image.open(io.BytesIO(ask(api, artifact).content)).size == (120, 120)


def test_asked_for_at_once_it_is_made_once(serve: Serve, own_storage: StorageSettings) -> None:
    worker = Worker(own_storage)
    one, other = serve(worker=False), serve(worker=False)
    id = publish(own_storage, "1" * 64, "video_00000000")
    worker.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask((one, other)[n % 2], id, layer=2), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert ask(one, id, layer=2).status_code == 200
    assert len(worker.claimed) == len(pictures(own_storage)) == 1
    assert ask(one, id, layer=1).status_code == 200
    assert len(worker.claimed) == len(pictures(own_storage)) == 2
    worker.stop()


def test_one_that_takes_longer_is_joined_by_the_next(
    serve: Serve, own_storage: StorageSettings
) -> None:
    worker = Worker(own_storage)
    worker.start()
    api = serve(worker=False)
    id = publish(own_storage, "1" * 64, "video_00000000", prompt="[hold]")
    for _ in range(2):
        response = ask(api, id, wait=0)
        assert error_of(response) == (503, "map_not_ready", None)
        assert response.headers["retry-after"] == "1"
    worker.release()
    assert ask(api, id).status_code == 200
    assert len(worker.claimed) == 1
    worker.stop()


def test_the_server_waits_no_longer_than_it_is_set(
    serve: Serve, own_storage: StorageSettings
) -> None:
    api = serve(worker=True, max_wait_s=0.05)
    id = publish(own_storage, "1" * 64, "video_00000000", prompt="[hold]")
    assert error_of(ask(api, id, wait=60)) == (503, "map_not_ready", None)


def test_a_failure_is_told_and_later_tried_again(
    serve: Serve, own_storage: StorageSettings
) -> None:
    worker = Worker(own_storage)
    worker.start()
    patient, hasty = serve(worker=False), serve(worker=False, map_retry_s=0)
    id = publish(own_storage, "1" * 64, "video_00000000", prompt="[fail]")
    for _ in range(2):
        response = ask(patient, id)
        assert error_of(response) == (500, "generation_failed", None)
        assert response.json()["error"]["message"] == "as asked"
        assert response.headers["x-should-retry"] == "false"
    assert len(worker.claimed) == 1
    assert error_of(ask(hasty, id)) == (500, "generation_failed", None)
    assert len(worker.claimed) == 2
    worker.stop()


@pytest.mark.parametrize(
    ("query", "param", "allowed"),
    [
        ({"layer": 4}, "layer", "0 to 3"),
        ({"layer": -1}, "layer", "greater than or equal to 0"),
        ({"head": 2}, "head", "0 to 1"),
        ({"step": 4}, "step", "0 to 3"),
        ({"step": "x"}, "step", "whole number"),
        ({"branch": "both"}, "branch", "'cond' or 'uncond'"),
        ({"bins": 0}, "bins", "greater than or equal to 1"),
        ({"bins": 1025}, "bins", "less than or equal to 1024"),
        ({"wait": -1}, "wait", "greater than or equal to 0"),
        ({"colour": "red"}, "colour", "not a known query parameter"),
    ],
)
def test_what_the_run_has_not(
    api: Api, artifact: str, worker: Worker, query: dict[str, Any], param: str, allowed: str
) -> None:
    claimed = len(worker.claimed)
    response = ask(api, artifact, **query)
    assert error_of(response) == (400, "invalid_value", param)
    message = response.json()["error"]["message"]
    assert message.startswith(f"{param}: ")
    assert allowed in message
    assert len(worker.claimed) == claimed


def recipe(**changes: Any) -> Recipe:
    generation = new_generation(Settings(seed=1), "A car.", CARD)
    return Recipe(generation=generation.model_copy(update=changes))


def test_a_run_without_guidance_has_one_branch(api: Api, storage: StorageSettings) -> None:
    id = publish(storage, "b" * 64, "video_00000000", recipe=recipe(guidance_scale=1.0))
    assert error_of(ask(api, id, branch="uncond")) == (400, "invalid_value", "branch")
    assert ask(api, id, branch="cond").status_code == 200


def test_models_that_are_served_no_longer(api: Api, storage: StorageSettings) -> None:
    gone = publish(storage, "c" * 64, "video_00000000", recipe=recipe(model="gone"))
    assert error_of(ask(api, gone)) == (400, "model_not_found", "model")
    other = publish(storage, "d" * 64, "video_00000000", recipe=recipe(fingerprint="0" * 64))
    assert error_of(ask(api, other)) == (400, "source_mismatch", "artifact_id")


def test_a_model_without_maps(serve: Serve, own_storage: StorageSettings) -> None:
    worker = Worker(own_storage, CARD.model_copy(update={"supports_transfer": False}))
    worker.start()
    id = publish(own_storage, "1" * 64, "video_00000000")
    assert error_of(ask(serve(worker=False), id)) == (400, "unsupported", None)
    worker.stop()


def test_of_an_edit_only_what_is_stored(api: Api, storage: StorageSettings) -> None:
    edit = Recipe(generation=recipe(prompt="A red car.").generation, source=recipe())
    id = publish(storage, "e" * 64, "video_00000000", recipe=edit)
    response = ask(api, id, layer=2)
    assert error_of(response) == (400, "invalid_value", "layer")
    assert "allowed is 3" in response.json()["error"]["message"]
    assert error_of(ask(api, id, layer=3, step=2)) == (400, "invalid_value", "step")
    assert error_of(ask(api, id, layer=3, branch="uncond")) == (400, "invalid_value", "branch")
    assert ask(api, id, layer=3).status_code == 200
    dense = publish(storage, "e" * 64, "video_00000000", "d", recipe=edit, form="dense")
    assert error_of(ask(api, dense, layer=3)) == (400, "unsupported", "artifact_id")


@pytest.mark.parametrize("id", ["attn_x", "x", "attn_" + "0" * 64 + "_" + "0" * 32, "a:b", "%00"])
def test_ids_that_are_none(api: Api, id: str) -> None:
    assert ask(api, id).status_code == 404


def test_a_picture_that_exists_needs_no_worker(serve: Serve, own_storage: StorageSettings) -> None:
    worker = Worker(own_storage)
    worker.start()
    id = publish(own_storage, "1" * 64, "video_00000000")
    first = ask(serve(worker=False), id)
    worker.stop()
    asyncio.run(forget_models(own_storage))
    later = serve(worker=False)
    assert ask(later, id).content == first.content
    assert error_of(ask(later, id, layer=1)) == (503, "unavailable", None)


async def forget_models(storage: StorageSettings) -> None:
    redis = open_redis(storage)
    await redis.delete(f"{storage.redis_prefix}:models", f"{storage.redis_prefix}:model_cards")
    await redis.aclose()
