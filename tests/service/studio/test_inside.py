"""Look inside, in a real browser: maps asked for by layer, head and step, and read as numbers."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.browser import Open
from tests.service.conftest import Api, Serve, running
from tests.service.routes.test_attention import publish
from tests.service.worker import Worker
from workers.analysis.heatmap import picture

READ = """async ([png, bins, cell]) => {
    const { HeatMap } = await import('/studio/parts/heat.js');
    const bytes = Uint8Array.from(atob(png), char => char.charCodeAt(0));
    const map = new HeatMap(await createImageBitmap(new Blob([bytes])), bins);
    return [...map.row(cell)];
}"""


def keep_attention(storage: StorageSettings, **fields: Any) -> str:
    """An artifact's id; indexed in a thread that has no browser's loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(
            lambda: publish(storage, "1" * 64, "video_00000000", **fields)
        ).result()


def open_inside(api: Api, visit: Open, id: str) -> Page:
    page = visit(f"{api.url}/studio#inside/{id}")
    expect(page.locator("#inside-fields [name=layer]")).to_be_visible()
    return page


@pytest.mark.parametrize("bins", [7, 120])
def test_a_picture_is_read_back_as_the_weights_that_it_shows(page: Page, bins: int) -> None:
    weights = torch.rand(bins, bins, generator=torch.Generator().manual_seed(bins)) ** 4
    png = base64.b64encode(picture(weights)).decode()
    for cell in (0, bins - 1):
        read = np.array(page.evaluate(READ, [png, bins, cell]))
        shown = np.maximum(weights[cell].numpy(), float(weights.max()) * 1e-3)
        assert np.abs(np.log10(read) - np.log10(shown / shown.max())).max() < 0.02


def test_layer_head_step_and_branch_are_asked_for(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    id = keep_attention(own_storage)
    page = open_inside(serve(), visit, id)
    expect(page.locator("#inside-map canvas")).to_be_visible()
    expect(page.locator("#inside-note")).to_contain_text("layers 3, steps 0-1")
    page.get_by_label("Head").fill("1")
    with page.expect_request(lambda request: "layer=2" in request.url) as asked:
        page.get_by_label("Layer").fill("2")
    url = asked.value.url
    assert f"/v1/attention/artifacts/{id}/map?" in url
    for part in ("head=1", "step=1", "branch=cond", "bins=120"):
        assert part in url
    expect(page.locator("#inside-frames canvas")).to_have_count(5)


def test_a_spot_is_picked_in_a_frame_in_the_map_or_by_number(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    page = open_inside(serve(), visit, keep_attention(own_storage))
    spot = [page.locator(f"#inside-spot [name={name}]") for name in ("frame", "row", "column")]
    canvas = page.locator("#inside-frames canvas").nth(3)
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] - 2, "y": 2})
    for field, value in zip(spot, "305", strict=True):  # of a grid of 5 frames of 4 by 6
        expect(field).to_have_value(value)
    drawn = page.locator("#inside-map canvas")
    expect(drawn).to_be_visible()
    drawn.click(position={"x": 5, "y": 1})
    for field, value in zip(spot, "000", strict=True):
        expect(field).to_have_value(value)
    spot[0].fill("4")
    spot[0].blur()
    pixels = canvas.evaluate("canvas => canvas.toDataURL()")
    spot[0].fill("3")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != pixels, "the spot is framed there"


def test_one_that_is_still_being_made_is_waited_for(
    own_storage: StorageSettings, visit: Open
) -> None:
    id = keep_attention(own_storage, prompt="[hold] A car.")
    worker = Worker(own_storage)
    worker.start()
    with running(ServiceSettings(storage=own_storage, port=0, max_wait_s=0.1)) as api:
        page = visit(f"{api.url}/studio")
        with page.expect_response(lambda response: response.status == 503):
            page.evaluate("id => location.hash = `inside/${id}`", id)
        worker.release()
        expect(page.locator("#inside-map canvas")).to_be_visible()
        expect(page.locator("#inside-form .error")).to_be_hidden()
    worker.stop()


def test_a_map_that_cannot_be_made_says_why(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    page = open_inside(serve(), visit, keep_attention(own_storage, prompt="[fail]"))
    expect(page.locator("#inside-form").get_by_role("alert")).to_have_text("as asked")


def test_nothing_is_kept(serve: Serve, visit: Open) -> None:
    page = visit(f"{serve(worker=False).url}/studio#inside")
    expect(page.get_by_text("No attention is kept.")).to_be_visible()
