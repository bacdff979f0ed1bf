"""Library, in a real browser: found, told of, downloaded, deleted, and made again by a program."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Open
from tests.service.conftest import Api, Serve

CAR = "A car is driving on the highway."
QUOTES = 'It\'s "a" \\ $HOME `id` car\non the $video {highway}, ünï.'


@pytest.fixture
def chain(serve: Serve) -> tuple[Api, list[dict[str, Any]]]:
    """A video, an edit of it, and an edit of that, with every setting that a recipe has."""
    api = serve()
    first = api.finished(
        CAR, seed=2**60 + 1, num_inference_steps=3, guidance_scale=2.5, negative_prompt="fog", fps=5
    )
    paper = {"anchor": None, "layers": [1, 2]}
    remix = {"prompt": QUOTES, "negative_prompt": "$video", "guidance_scale": 3, "transfer": paper}
    second = api.http.post(f"/videos/{first['id']}/remix", json=remix).json()
    api.get(second["id"], wait=20)
    last = {"prompt": "A red car.", "transfer": {"strength": 0.5, "anchor": {"interval": 2}}}
    third = api.http.post(f"/videos/{second['id']}/remix", json=last).json()
    return api, [first, api.get(second["id"]), api.get(third["id"], wait=20)]


def library(api: Api, visit: Open, id: str = "") -> Page:
    page = visit(f"{api.url}/studio#library/{id}", accept_downloads=True)
    expect(page.locator("#library .entry").first).to_be_visible()
    return page


def test_the_tree_and_the_filter(chain: tuple[Api, list[dict[str, Any]]], visit: Open) -> None:
    api, (first, _, third) = chain
    api.finished("A dog.")
    page = library(api, visit)
    below = page.locator(
        f"li:has(> [href$='{first['id']}']) > ul > li > ul [href$='{third['id']}']"
    )
    expect(below).to_be_visible()
    page.get_by_placeholder("Words of the prompt").fill("red CAR")
    expect(page.locator("#library .entry:not(.dim)")).to_have_count(1)
    expect(page.locator("#library .entry.dim")).to_have_count(2)  # its sources, to hold it
    page.get_by_label("as a tree").uncheck()
    expect(page.locator("#library .entry")).to_have_count(1)
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("No videos here.")).to_be_visible()


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("language", ["Python", "curl"])
def test_its_code_makes_the_same_video_again(
    chain: tuple[Api, list[dict[str, Any]]], visit: Open, tmp_path: Path, depth: int, language: str
) -> None:
    api, videos = chain
    page = library(api, visit, videos[depth]["id"])
    code = page.locator(f"pre[data-code={language}]").text_content() or ""
    for video in videos:  # of what it names nothing need be left
        api.http.delete(f"/videos/{video['id']}")
    program = [sys.executable, "-W", "ignore", "-c"] if language == "Python" else ["bash", "-ec"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [*program, code], cwd=tmp_path, check=True, timeout=60, env={"PATH": path, "HOME": "/x"}
    )
    again = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    again = api.get(again["id"], wait=20)
    assert again["source_key"] == videos[depth]["source_key"], "the same recipe, to the last digit"
    same = ("prompt", "seed", "fps", "negative_prompt", "guidance_scale", "transfer")
    assert [again[name] for name in same] == [videos[depth][name] for name in same]
    if language == "Python":
        assert (tmp_path / "video.mp4").stat().st_size > 0


def test_lineage_download_and_delete(
    chain: tuple[Api, list[dict[str, Any]]], visit: Open, tmp_path: Path
) -> None:
    api, (_, second, third) = chain
    api.http.delete(f"/videos/{second['id']}")
    page = library(api, visit, third["id"])
    detail = page.locator("#library-detail")
    expect(detail.locator(".chain li")).to_have_count(3)
    expect(detail.locator(".chain li").nth(1)).to_contain_text("(deleted)")
    expect(detail).to_contain_text("strength 0.5")
    with page.expect_download() as download:
        detail.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{third['id']}.mp4"
    content = api.http.get(f"/videos/{third['id']}/content").content
    assert Path(download.value.path()).read_bytes() == content

    detail.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    assert api.get(third["id"])["status"] == "completed"
    detail.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(detail).to_be_hidden()
    expect(page.locator(f".entry[href$='{third['id']}']")).to_have_count(0)
    assert api.http.get(f"/videos/{third['id']}").status_code == 404


def test_older_videos_are_a_click_away(serve: Serve, visit: Open) -> None:
    api = serve()
    for number in range(53):
        api.create(f"Video {number}.")
    page = library(api, visit)
    expect(page.locator("#library .entry")).to_have_count(50)
    page.get_by_role("button", name="Show older videos").click()
    expect(page.locator("#library .entry")).to_have_count(53)
    expect(page.get_by_role("button", name="Show older videos")).to_be_hidden()
