"""A picture of a map from the whole product: API, queue, Ray, the bundled model, and back."""

import io

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from PIL import Image

from retake.client import ApiError, Client

pytestmark = pytest.mark.ray


def pixels(client: Client, artifact_id: str, layer: int) -> NDArray[np.uint8]:
    response = client.request(
        "GET",
        f"/attention/artifacts/{artifact_id}/map",
        params={"layer": layer, "step": 4, "head": 1},
        timeout=90,
    )
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_of_any_layer_stored_or_not(sdk: openai.OpenAI, client: Client) -> None:
    # the same run, of which one artifact holds a layer and the other holds another
    ids = {}
    for layer in (1, 2):
        video = sdk.videos.create_and_poll(
            prompt="A car is driving on the highway.",
            extra_body={"seed": 3, "num_inference_steps": 8, "capture": {"layers": [layer]}},
            poll_interval_ms=100,
        )
        assert video.status == "completed", video.error
        listed = client.request("GET", "/attention/artifacts", params={"limit": 1}).json()
        ids[layer] = listed["data"][0]["id"]
        assert listed["data"][0]["layers"] == [layer]
    stored, made_again = (pixels(client, ids[layer], 1).astype(int) for layer in (1, 2))
    assert stored.shape == made_again.shape
    assert np.abs(stored - made_again).max() <= 2, "read or made again, it is the same map"
    assert np.abs(stored - pixels(client, ids[1], 2)).mean() > 2, "another layer's is another"
    assert (stored == pixels(client, ids[1], 1)).all()

    client.request("DELETE", f"/attention/artifacts/{ids[1]}")
    with pytest.raises(ApiError) as gone:
        pixels(client, ids[1], 1)
    assert gone.value.code == "not_found"


def test_of_an_anchored_edit(sdk: openai.OpenAI, client: Client) -> None:
    source = sdk.videos.create_and_poll(
        prompt="A car is driving on the highway.",
        extra_body={"seed": 4, "num_inference_steps": 8},
        poll_interval_ms=100,
    )
    edit = client.remix(
        source.id,
        prompt="A red car is driving on the highway.",
        capture={"form": "hidden"},
        transfer={"anchor": {"interval": 2}, "layers": [2, 3]},
    )
    video = client.request("GET", f"/videos/{edit['id']}", params={"wait": 60}).json()
    assert video["status"] == "completed", video["error"]
    listed = client.request("GET", "/attention/artifacts", params={"limit": 100}).json()["data"]
    (kept,) = [entry for entry in listed if entry["source_key"] == video["source_key"]]
    assert 4 in kept["steps"]
    # the edit has the source's maps at those layers
    (of_source,) = [entry for entry in listed if entry["recipe"]["generation"]["seed"] == 4
                    and entry["recipe"]["source"] is None]  # fmt: skip
    theirs, ours = (pixels(client, entry["id"], 3).astype(int) for entry in (of_source, kept))
    assert np.abs(theirs - ours).mean() < np.abs(theirs - pixels(client, kept["id"], 2)).mean()
