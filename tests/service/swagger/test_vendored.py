"""``/docs``: Swagger UI from files of ours, which are what VENDORED.md says."""

import hashlib
import re
from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.browser import Open
from tests.service.conftest import Api

FOLDER = Path(__file__).parents[3] / "service" / "swagger"
OURS = {"VENDORED.md", "index.html", "docs.js", "docs.css"}


def test_every_vendored_file_is_listed_with_its_licence_and_sum() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (FOLDER / "VENDORED.md").read_text().splitlines()
        if line.startswith("|") and "`" in line
    ]
    sums = {name: digest.strip("`") for name, _, _, digest in rows}
    assert set(sums) == {path.name for path in FOLDER.iterdir()} - OURS
    for name, digest in sums.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    assert "Apache-2.0" in rows[0][2]
    assert re.search(r"swagger-ui-dist` \d+\.\d+\.\d+", rows[0][1])


def test_the_page_shows_the_api_and_asks_nobody_else(api: Api, visit: Open) -> None:
    page = visit(f"{api.url}/docs")
    create = page.locator("#operations-videos-create_video_v1_videos_post")
    create.get_by_role("button", name="Create Video").click()
    expect(create.get_by_text("Queue a generation")).to_be_visible()
    policy = httpx.get(f"{api.url}/docs").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    notes = "VENDORED.md"  # not a file of the page
    assert httpx.get(f"{api.url}/docs/{notes}").status_code == 404
    assert str(httpx.get(f"{api.url}/docs/", follow_redirects=True).url) == f"{api.url}/docs"
