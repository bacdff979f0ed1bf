"""Keep the shot, in a real browser: variants asked for at once, and videos that play in step."""

import itertools
import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import Open
from tests.service.conftest import Api, Serve

CAR = "A car is driving on the highway."
FRAMES = """() => [...document.querySelectorAll('#keep .tile video')]
    .filter(video => !video.hidden).map(video => Math.floor(video.currentTime * 8 + 0.01))"""
SEEDS = itertools.count(3)
REGION = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["box", "ellipse"], "type": "string"},
        "growth": {"type": "integer", "minimum": 0, "default": 0},
    },
}


@pytest.fixture
def source(api: Api) -> dict[str, Any]:
    """A video of the test's own, by a seed that no other has."""
    return api.finished(CAR, seed=next(SEEDS))


def keep(api: Api, visit: Open, source: dict[str, Any], **options: Any) -> Page:
    page = visit(f"{api.url}/studio#keep/{source['id']}", **options)
    expect(page.locator(".variant")).to_have_count(1)
    return page


def words(page: Page, index: int = 0) -> Any:
    return page.locator(".variant").nth(index).locator("textarea[name=prompt]")


def test_variants_are_edits_of_the_source_all_at_once(
    api: Api, visit: Open, source: dict[str, Any]
) -> None:
    page = keep(api, visit, source)
    words(page).fill("A red car is driving on the highway.")
    expect(page.locator(".marks ins")).to_have_text("red")
    page.get_by_label("Preset").select_option("recolour")
    page.get_by_role("button", name="Add a variant").click()
    expect(words(page, 1)).to_be_focused()
    words(page, 1).fill("A truck is driving on the highway.")
    second = page.locator(".variant").nth(1)
    expect(second.locator(".marks del")).to_have_text("car")
    second.get_by_label("Strength", exact=True).fill("0.8")
    second.get_by_text("Advanced").click()
    second.locator("[name='transfer.layers']").fill("0-1, 3")
    second.locator("[name='transfer.branches'][value=cond]").check()
    expect(page.locator("#keep-price")).to_contain_text("a generation")
    with page.expect_request("**/edits") as request:
        page.get_by_role("button", name="Make 2 edits").click()
    _, asked = json.loads(request.value.post_data or "")["edits"]
    assert asked["transfer"] == {
        "preset": "auto", "layers": [0, 1, 3], "branches": ["cond"], "strength": 0.8,
    }  # fmt: skip
    expect(page.locator("#keep .tile[data-status=completed]")).to_have_count(3)
    edits = [
        video
        for video in api.http.get("/videos").json()["data"]
        if video["remixed_from_video_id"] == source["id"]
    ]
    truck, red = edits
    assert truck["prompt"].startswith("A truck")
    assert truck["transfer"]["layers"] == [0, 1, 3]
    assert truck["transfer"]["strength"] == 0.8
    assert red["transfer"]["strength"] == 1
    red_tile = page.locator(f".tile[data-id={red['id']}]")
    expect(red_tile.locator("figcaption ins")).to_have_text("red")
    expect(red_tile).to_contain_text("the source was run again")


def test_a_plain_re_generation_is_made_on_request(
    api: Api, visit: Open, source: dict[str, Any]
) -> None:
    edit = api.http.post(f"/videos/{source['id']}/remix", json={"prompt": "A bus."}).json()
    api.get(edit["id"], wait=20)
    page = keep(api, visit, source)
    page.get_by_role("button", name="Plain re-generation").first.click()
    plain = page.locator(".tile[data-role='Plain re-generation'][data-status=completed]")
    expect(plain).to_have_count(1)
    made = api.get(plain.get_attribute("data-id") or "")
    assert made["transfer"] is None
    assert (made["prompt"], made["seed"]) == ("A bus.", source["seed"])


def test_videos_move_in_step(api: Api, visit: Open, source: dict[str, Any]) -> None:
    for prompt in ("A red car.", "A truck."):
        made = api.http.post(f"/videos/{source['id']}/remix", json={"prompt": prompt}).json()
        api.get(made["id"], wait=20)
    page = keep(api, visit, source)
    expect(page.locator("#keep .tile video:visible")).to_have_count(3)
    page.wait_for_function(
        f"() => ({FRAMES})().some(frame => frame > 0)"
    )  # they play by themselves
    page.get_by_role("button", name="Pause").click()
    scrubber = page.get_by_label("Frame", exact=True)
    for frame in (0, 3, 1):
        scrubber.fill(str(frame))
        page.wait_for_function(f"() => ({FRAMES})().every(frame => frame === {frame})")
    page.get_by_role("button", name="One frame on").click()
    page.wait_for_function(f"() => ({FRAMES})().every(frame => frame === 2)")
    page.locator("#keep-title").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => ({FRAMES})().every(frame => frame === 1)")
    expect(page.locator(".counter")).to_have_text("2 / 5")
    page.keyboard.press(" ")
    page.wait_for_function(f"() => ({FRAMES})().some(frame => frame > 1)")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_wipe_and_difference(api: Api, visit: Open, source: dict[str, Any]) -> None:
    made = api.http.post(f"/videos/{source['id']}/remix", json={"prompt": "A bus."}).json()
    api.get(made["id"], wait=20)
    page = keep(api, visit, source, reduced_motion="reduce")
    expect(page.locator("#keep .tile video:visible")).to_have_count(2)
    page.get_by_label("Frame", exact=True).fill("4")
    pixel = """() => { const canvas = document.querySelector('.compare canvas');
        return [...canvas.getContext('2d').getImageData(48, 32, 1, 1).data.slice(0, 3)]; }"""
    page.get_by_text("Wipe").click()
    page.wait_for_function(f"() => ({pixel})().every(value => value > 100)")
    page.get_by_label("Where the one video ends").fill("25")
    assert page.locator(".split").evaluate("split => split.style.left") == "25%"
    page.get_by_text(
        "Difference", exact=True
    ).click()  # of the same video, as this worker makes all alike
    page.wait_for_function(f"() => ({pixel})().every(value => value === 0)")
    page.get_by_text("Side by side").click()
    expect(page.locator(".compare")).to_be_hidden()


def test_a_refusal_names_the_variant_and_its_field(
    api: Api, visit: Open, source: dict[str, Any]
) -> None:
    page = keep(api, visit, source)
    page.get_by_text("Advanced").click()
    layers = page.locator("[name='transfer.layers']")
    layers.fill("99")
    page.get_by_role("button", name="Make the edit").click()
    expect(page.locator("#keep-form").get_by_role("alert")).to_contain_text("99")
    expect(layers).to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize(
    ("mode", "sent"),
    [("choose interval and scale", {"interval": 2, "scale": 1.5}), ("none", None)],
)
def test_the_anchor_is_the_users_to_choose(
    api: Api, visit: Open, source: dict[str, Any], mode: str, sent: dict[str, float | None] | None
) -> None:
    page = keep(api, visit, source)
    page.get_by_text("Advanced").click()
    anchor = page.locator("[name='transfer.anchor']")
    expect(anchor.locator("option").first).to_have_text("as the preset: interval 5, scale 1")
    label = anchor.locator("option", has_text=re.compile(f"^{mode}"))
    anchor.select_option(label.get_attribute("value"))
    if sent:
        page.locator("[name='transfer.anchor.interval']").fill("2")
        page.locator("[name='transfer.anchor.scale']").fill("1.5")
    page.get_by_role("button", name="Make the edit").click()
    expect(page.locator("#keep .tile[data-role=Edit]")).to_have_count(1)
    assert api.http.get("/videos").json()["data"][0]["transfer"]["anchor"] == (
        sent and {**sent, "region": None}
    )


def test_a_field_that_the_api_gains_gets_a_control(
    api: Api, visit: Open, source: dict[str, Any]
) -> None:
    def with_more_fields(route: Route) -> None:
        document = api.http.get(f"{api.url}/openapi.json").json()
        document["components"]["schemas"]["Region"] = REGION
        nullable = {"anyOf": [{"$ref": "#/components/schemas/Region"}, {"type": "null"}]}
        document["components"]["schemas"]["TransferSpec"]["properties"]["region"] = nullable
        route.fulfill(json=document)

    page = visit(f"{api.url}/studio")
    page.route("**/openapi.json", with_more_fields)
    page.goto(f"{api.url}/studio#keep/{source['id']}")
    page.reload()
    page.get_by_text("Advanced").click()
    page.locator("[name='transfer.region']").select_option("choose")
    page.locator("[name='transfer.region.kind']").select_option("ellipse")
    page.locator("[name='transfer.region.growth']").fill("3")
    with page.expect_request("**/edits") as request:
        page.get_by_role("button", name="Make the edit").click()
    (edit,) = json.loads(request.value.post_data or "")["edits"]
    assert edit["transfer"]["region"] == {"kind": "ellipse", "growth": 3}
    refused = page.locator("#keep-form").get_by_role("alert")
    expect(refused).to_contain_text("region")  # this server does not have it


def test_nothing_to_edit_yet(serve: Serve, visit: Open) -> None:
    page = visit(f"{serve().url}/studio#keep")
    expect(page.get_by_text("No video to edit yet.")).to_be_visible()
    expect(page.locator("#keep-form")).to_be_hidden()
