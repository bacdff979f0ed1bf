"""Bad analyses: each a 4xx that names the field, and nothing queued."""

from typing import Any

import pytest

from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve
from tests.service.routes.test_attention import publish
from tests.service.wire.test_bad_input import error_of
from tests.service.worker import CARD, Worker

PATH = "/attention/analyses"
RUN = {"prompt": "A car.", "seed": 7}
EDIT = {"prompt": "A red car.", "source": RUN}
UPLOAD = {"id": "upload_" + "0" * 40}
FILM = {"video": UPLOAD, "source_prompt": "A car."}


@pytest.fixture(autouse=True)
def _nothing_is_queued(api: Api) -> Any:
    before = api.http.get(PATH, params={"limit": 1}).json()["first_id"]
    yield
    assert api.http.get(PATH, params={"limit": 1}).json()["first_id"] == before


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"kind": "entropy"}, "kind", "'structure', 'sparsity', 'sinks' or 'layer_sweep'"),
        ({"kind": None}, "kind", "null is not allowed"),
        ({"sources": []}, "sources", "at least 1 item"),
        ({"sources": [RUN] * 17}, "sources", "at most 16 item"),
        ({"sources": [{}]}, "sources.0", "name a video by id, or a run by prompt and seed"),
        ({"sources": [RUN, {"prompt": "A car."}]}, "sources.1", "seed is required"),
        ({"sources": [{"id": "x"}]}, "sources.0.id", "allowed is the id of a video"),
        ({"sources": [{"id": "video_00000000", "seed": 1}]}, "sources.0", "seed does not go"),
        ({"sources": [{**EDIT, "video": {"id": "video_00000000"}}]}, "sources.0", "not both"),
        ({"sources": [{**RUN, "transfer": {}}]}, "sources.0", "transfer is of an edit"),
        ({"sources": [{**RUN, "size": "1x1"}]}, "sources.0.size", "'1x1' is not allowed"),
        ({"sources": [{**RUN, "num_frames": 2}]}, "sources.0.num_frames", "nearest is"),
        ({"sources": [RUN, {**RUN, "model": "sora"}]}, "sources.1.model", "allowed are scenes"),
        ({"sources": [{**EDIT, "seed": 8}]}, "sources.0.seed", "differs from the source's"),
        (
            {"sources": [{**EDIT, "transfer": {"layers": [9]}}]},
            "sources.0.transfer.layers",
            "0 to 3",
        ),
        ({"layers": [4]}, "layers", "4 is not one of 0 to 3"),
        ({"layers": [-1]}, "layers.0", "greater than or equal to 0"),
        ({"heads": [2]}, "heads", "2 is not one of 0 to 1"),
        ({"steps": [4]}, "steps", "4 is not one of 0 to 3"),
        ({"steps": {"start": 3, "stop": 3}}, "steps", "start"),
        ({"branches": ["both"]}, "branches.0", "'cond' or 'uncond'"),
        (
            {"branches": ["uncond"], "sources": [{**RUN, "guidance_scale": 1.0}]},
            "branches",
            "'uncond' is not a branch",
        ),
        ({"sampling": {"rows": 3}}, "sampling.rows", "greater than or equal to 16"),
        ({"densities": [0]}, "densities.0", "greater than 0"),
        ({"causal": {}}, "causal", "belongs to kind 'sparsity'"),
        ({"kind": "sparsity", "causal": {"densities": [2]}}, "causal.densities.0", "or equal to 1"),
        ({"kind": "sinks", "ablations": {"sinks": 0}}, "ablations.sinks", "or equal to 1"),
        ({"kind": "layer_sweep"}, "sources.0", "a layer sweep needs an edit"),
        ({"kind": "layer_sweep", "sources": [EDIT], "heads": [0]}, "heads", "a layer sweep"),
        ({"kind": "sinks", "sources": [EDIT], "ablations": {}}, "sources.0", "plain generations"),
        (
            {"kind": "sinks", "sources": [RUN, {**RUN, "size": "64x64"}]},
            "sources.1",
            "of two grids cannot be compared",
        ),
        ({"sources": [{"video": UPLOAD}]}, "sources.0", "source_prompt is required with an upload"),
        ({"sources": [{**RUN, "source_prompt": "A car."}]}, "sources.0", "for uploaded videos"),
        ({"sources": [{"video": {"id": "video_00000000"}}]}, "sources.0", "uploaded one by video"),
        ({"sources": [{**FILM, "transfer": {}}]}, "sources.0", "transfer is not of an uploaded"),
        ({"sources": [{**FILM, "step_cache": {"threshold": 0.1}}]}, "sources.0", "step_cache is"),
        ({"layer": [1]}, "layer", "is not a known field; allowed are kind"),
        ({"priority": "urgent"}, "priority", "'low', 'normal' or 'high'"),
    ],
)
def test_a_field(api: Api, change: dict[str, Any], param: str | None, says: str) -> None:
    body = {"kind": "structure", "sources": [RUN], **change}
    for path in (PATH, f"{PATH}/estimate"):
        error = error_of(api.http.post(path, json=body), 400)
        assert error["param"] == param, error
        assert says in error["message"]


def test_a_source_that_is_not_there_or_not_finished(api: Api) -> None:
    body: dict[str, Any] = {"kind": "structure", "sources": [{"id": "video_00000000"}]}
    assert error_of(api.http.post(PATH, json=body), 404)["param"] == "sources.0"
    held = api.create("[hold]")["id"]
    error = error_of(api.http.post(PATH, json={**body, "sources": [RUN, {"id": held}]}), 409)
    assert (error["param"], error["code"]) == ("sources.1.id", "source_not_ready")
    edit = {"prompt": "A red car.", "video": {"id": held}}
    error = error_of(api.http.post(PATH, json={**body, "sources": [edit]}), 409)
    assert (error["param"], error["code"]) == ("sources.0.video.id", "source_not_ready")
    api.http.post(f"/videos/{held}/cancel")
    error = error_of(api.http.post(PATH, json={**body, "sources": [RUN, FILM]}), 404)
    assert error["param"] == "sources.1"
    assert f"no upload '{UPLOAD['id']}'" in error["message"]


def test_another_revision_of_the_model(serve: Serve, own_storage: StorageSettings) -> None:
    worker = Worker(own_storage)
    worker.start()
    video = serve(worker=False).finished()["id"]
    worker.stop()
    later = Worker(own_storage, CARD.model_copy(update={"fingerprint": "0" * 64}))
    later.start()
    api = serve(worker=False)
    body = {"kind": "structure", "sources": [{"id": video}]}
    error = error_of(api.http.post(PATH, json=body), 400)
    assert (error["code"], error["param"]) == ("source_mismatch", "sources.0.id")
    later.stop()


def test_an_edit_with_a_region_needs_its_stored_attention(
    serve: Serve, own_storage: StorageSettings
) -> None:
    worker = Worker(own_storage, CARD.model_copy(update={"supports_region": True}))
    worker.start()
    api = serve(worker=False)
    edit = {
        "prompt": "A red car.",
        "source": RUN,
        "transfer": {"anchor": {"interval": 2, "region": {}}},
    }
    refused = error_of(api.http.post(PATH, json={"kind": "structure", "sources": [RUN, edit]}), 400)
    assert refused["param"] == "sources.1"
    assert "is stored; allowed are" in refused["message"]

    video = api.get(api.http.post("/videos/edits", json=edit).json()["id"], wait=20)
    publish(own_storage, video["source_key"], video["id"], layers=(0, 1))
    body = {"kind": "structure", "sources": [{"id": video["id"]}], "branches": ["cond"]}
    for layer, steps, status in ((2, [0], 400), (1, [3], 400), (1, [0], 200)):
        asked = {**body, "layers": [layer], "steps": steps}
        assert api.http.post(PATH, json=asked).status_code == status
    worker.stop()


def test_queries(api: Api) -> None:
    for query, param in (
        ({"limit": 0}, "limit"),
        ({"kind": "maps"}, "kind"),
        ({"status": "done"}, "status"),
        ({"sort": "x"}, "sort"),
    ):
        assert error_of(api.http.get(PATH, params=query), 400)["param"] == param
    error = error_of(api.http.get(f"{PATH}/analysis_00000000/figures/A.png"), 400)
    assert error["param"] == "name"
    assert error_of(api.http.get(f"{PATH}/x"), 404)
