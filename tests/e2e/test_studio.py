"""Studio over the whole product: a real Chromium, Ray, and the bundled model's videos.

Pictures of what people see are kept in runs/studio.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from retake.client import Client
from retake.stack import Stack
from tests.browser import Open, picture

pytestmark = pytest.mark.ray

CAR = "A car is driving on the highway."
RED = "A red car is driving on the highway."
STEPS = 8
PHONE = {"width": 390, "height": 844}
# Of two videos as the stage shows them now: the mean difference of their pixels, 0 to 255
DIFFERENCE = """([one, other]) => {
    const pixels = id => {
        const video = document.querySelector(`#keep .tile[data-id=${id}] video`);
        const context = new OffscreenCanvas(96, 64).getContext('2d');
        context.drawImage(video, 0, 0);
        return context.getImageData(0, 0, 96, 64).data;
    };
    const [a, b] = [pixels(one), pixels(other)];
    return a.reduce((sum, value, index) => sum + Math.abs(value - b[index]), 0) / a.length;
}"""
FRAMES = """() => [...document.querySelectorAll('#keep .tile video')].map(
    video => video.hidden ? null : Math.floor(video.currentTime * 8 + 0.01))"""


@pytest.fixture
def page(stack: Stack, visit: Open) -> Page:
    return visit(stack.studio_url)


def make(page: Page, prompt: str, seed: int, steps: int = STEPS) -> None:
    form = page.locator("#make-form")
    expect(form.locator("[name=seed]")).to_be_visible()
    form.get_by_label("Prompt", exact=True).fill(prompt)
    form.locator("[name=seed]").fill(str(seed))
    form.locator("[name=num_inference_steps]").fill(str(steps))
    form.get_by_role("button", name="Make the video").click()


def id_of(page: Page, role: str) -> str:
    tile = page.locator(f"#keep .tile[data-role='{role}'][data-status=completed]")
    expect(tile.locator("video")).to_be_visible(timeout=120_000)
    return tile.get_attribute("data-id") or ""


def test_a_video_is_made_and_edited_and_both_play(page: Page, client: Client) -> None:
    make(page, CAR, seed=11)
    tile = page.locator("#make-jobs .tile").first
    page.wait_for_function(  # a preview, while it is being made
        "() => document.querySelector('#make-jobs .blurred img')?.naturalWidth > 0", timeout=60_000
    )
    picture(page, "make")
    expect(tile).to_have_attribute("data-status", "completed", timeout=120_000)
    page.wait_for_function("() => document.querySelector('#make-jobs video').currentTime > 0")
    tile.get_by_role("link", name="Keep the shot").click()

    words = page.locator(".variant textarea[name=prompt]")
    expect(words).to_have_value(CAR)
    words.fill(RED)
    page.get_by_label("Preset").select_option("recolour")
    expect(page.locator("#keep-price")).to_contain_text("if what it reads is not kept")
    page.get_by_role("button", name="Make the edit").click()
    source, edit = id_of(page, "Source"), id_of(page, "Edit")
    page.get_by_role("button", name="Plain re-generation").click()
    plain = id_of(page, "Plain re-generation")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#keep .tile video')].every(v => v.currentTime > 0)"
    )
    picture(page, "keep")

    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Frame", exact=True).fill("8")
    page.wait_for_function(f"() => ({FRAMES})().every(frame => frame === 8)")
    kept, lost = (page.evaluate(DIFFERENCE, [source, other]) for other in (edit, plain))
    assert 0 < kept < lost, "the edit keeps the shot, a plain re-generation does not"
    for mode in ("Wipe", "Difference"):
        page.get_by_text(mode, exact=True).click()
        expect(page.locator(".compare canvas")).to_be_visible()
        picture(page, mode.lower())

    video = client.get(edit)
    assert (video["prompt"], video["remixed_from_video_id"]) == (RED, source)
    assert video["attention"] == "stored"
    assert client.get(plain)["source_key"] != video["source_key"]


def test_look_inside_shows_where_a_spot_looks(page: Page, client: Client) -> None:
    if not client.list(limit=1)["data"]:
        make(page, CAR, seed=11)
        expect(page.locator(".tile[data-status=completed]")).to_be_visible(timeout=120_000)
    page.get_by_role("link", name="Look inside").click()
    expect(page.locator("#inside-map canvas")).to_be_visible(timeout=120_000)
    kept = client.request("GET", "/attention/artifacts", params={"limit": 100}).json()["data"]
    source = next(entry["id"] for entry in kept if entry["recipe"]["source"] is None)
    page.get_by_label("Kept attention").select_option(source)
    expect(page.locator("#inside-note")).to_contain_text("Other layers and steps")
    expect(page.locator("#inside-map.waiting")).to_have_count(0, timeout=120_000)
    frames = page.locator("#inside-frames canvas")
    expect(frames).to_have_count(5)
    before = frames.nth(4).evaluate("canvas => canvas.toDataURL()")
    frames.nth(0).click()
    assert frames.nth(4).evaluate("canvas => canvas.toDataURL()") != before, "another row's weights"
    with page.expect_response(lambda response: "layer=2&" in response.url) as drawn:
        page.locator("#inside [name=layer]").fill("2")
    assert drawn.value.headers["content-type"] == "image/png"
    picture(page, "inside")


def test_its_python_makes_the_video_again_to_the_byte(
    page: Page, client: Client, tmp_path: Path
) -> None:
    edits = [video for video in client.list(limit=20)["data"] if video["transfer"]]
    if not edits:
        source = client.create(prompt=CAR, seed=11, num_inference_steps=STEPS, capture=True)
        assert client.request("GET", f"/videos/{source['id']}", params={"wait": 60}).is_success
        edits = [client.remix(source["id"], prompt=RED, transfer={"preset": "recolour"})]
        assert client.request("GET", f"/videos/{edits[0]['id']}", params={"wait": 60}).is_success
    edit = edits[0]["id"]
    page.evaluate("id => location.hash = `library/${id}`", edit)
    expect(page.locator("#library-detail video")).to_be_visible()
    picture(page, "library")
    code = page.locator("pre[data-code=Python]").text_content() or ""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True, timeout=120
    )
    first = client.download(edit, tmp_path / "first.mp4").read_bytes()
    assert (tmp_path / "video.mp4").read_bytes() == first


def test_cancel_stops_the_run(page: Page, client: Client) -> None:
    make(page, CAR, seed=5, steps=100)
    tile = page.locator("#make-jobs .tile").first
    expect(tile.locator(".status")).to_contain_text("Step ", timeout=60_000)
    tile.get_by_role("button", name="Cancel").click()
    expect(tile.locator(".status")).to_have_text("Cancelled", timeout=60_000)
    newest = client.list(limit=1)["data"][0]
    assert (newest["seed"], newest["error"]["code"]) == (5, "cancelled")


def test_dark_and_on_a_phone(stack: Stack, client: Client, visit: Open) -> None:
    for name, options in {"dark": {}, "phone": {"viewport": PHONE, "has_touch": True}}.items():
        page = visit(stack.studio_url, color_scheme="dark", **options)
        for section in ("make", "keep", "inside", "library"):
            page.evaluate("section => location.hash = section", section)
            expect(page.locator(f"#{section} h1")).to_be_visible()
            page.wait_for_load_state("load")
            picture(page, f"{section}-{name}")
