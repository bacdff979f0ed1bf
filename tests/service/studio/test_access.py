"""Studio without a mouse, and for who cannot see it: no serious fault that axe can find."""

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import Open
from tests.service.conftest import Api

OUTLINED = """() => { const at = document.activeElement;
    return [at, at.nextElementSibling, at.parentElement].some(element => element
        && getComputedStyle(element).outlineStyle !== 'none'
        && getComputedStyle(element).outlineWidth !== '0px'); }"""
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def videos(api: Api) -> list[dict[str, Any]]:
    source = api.finished("A car.", seed=21)
    edit = api.http.post(f"/videos/{source['id']}/remix", json={"prompt": "A red car."}).json()
    return [source, api.get(edit["id"], wait=20)]


def faults(page: Page) -> list[str]:
    """What axe finds serious or critical, each with the element."""
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    api: Api, visit: Open, videos: list[dict[str, Any]], theme: str
) -> None:
    source, edit = videos
    page = visit(f"{api.url}/studio", color_scheme=theme)
    for section in ("make", f"keep/{source['id']}", "inside", f"library/{edit['id']}"):
        page.evaluate("section => location.hash = section", section)
        view = page.locator(f"#{section.split('/')[0]}")
        expect(view).to_be_visible()
        if section.startswith("keep"):
            expect(page.locator("#keep .tile video:visible").first).to_be_visible()
        if section.startswith("library"):
            expect(page.locator("#library-detail pre").first).to_be_attached()
        for summary in view.locator("summary:visible").all():
            summary.click()
        assert faults(page) == [], section


@pytest.mark.parametrize("section", ["make", "keep", "inside", "library"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    api: Api, visit: Open, videos: list[dict[str, Any]], section: str
) -> None:
    page = visit(f"{api.url}/studio#{section}", viewport=PHONE, has_touch=True)
    expect(page.locator("h1:visible")).to_be_visible()
    page.wait_for_load_state("load")  # an open event stream keeps the network from being idle
    expect(page.locator(f"#{section}")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for link in page.get_by_role("navigation").get_by_role("link").all():
        box = link.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= PHONE["width"], "a section's name is cut off"


def tab_to(page: Page, selector: str, key: str = "Tab") -> None:
    """Press Tab until ``selector`` has the focus; each stop on the way is to be seen."""
    for _ in range(80):
        page.keyboard.press(key)
        where = page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if where.startswith("<body"):
            continue
        assert page.evaluate(OUTLINED), f"the focus cannot be seen on {where}"
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"no way to {selector} by {key}")


def test_everything_by_keyboard(api: Api, visit: Open) -> None:
    page = visit(f"{api.url}/studio")
    expect(page.locator("#make-form [name=seed]")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    tab_to(page, "#make-form textarea[name=prompt]")
    page.keyboard.type("A car by keyboard.")
    tab_to(page, "#make-form button[type=submit]")
    page.keyboard.press("Enter")
    expect(page.locator("#make-jobs .tile").first).to_have_attribute("data-status", "completed")
    tab_to(page, "#make-jobs a[href^='#keep/']")
    page.keyboard.press("Enter")

    expect(page.locator("#keep-title")).to_be_focused()
    expect(page.locator(".variant")).to_have_count(1)
    tab_to(page, "#keep-sources input")
    tab_to(page, ".variant textarea[name=prompt]")
    page.keyboard.press("End")
    page.keyboard.type(" At night.")
    tab_to(page, ".variant summary")
    page.keyboard.press("Enter")
    tab_to(page, "[name='transfer.layers']")
    page.keyboard.type("0-2")
    tab_to(page, "#keep-go")
    page.keyboard.press("Enter")
    edit = page.locator("#keep .tile[data-role=Edit][data-status=completed]")
    expect(edit).to_have_count(1)
    tab_to(page, ".segment input")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".compare canvas")).to_be_visible()
    tab_to(page, "[aria-label^='Where the one video']")
    page.keyboard.press("Home")
    assert page.locator(".split").evaluate("split => split.style.left") == "0%"
    tab_to(page, ".transport button[aria-label^=Pause]")
    page.keyboard.press("Enter")
    expect(page.locator(".transport button[aria-label^=Play]")).to_be_focused()

    made = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert made["transfer"]["layers"] == [0, 1, 2]
    tab_to(page, ".bar a[href='#library']", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#library-title")).to_be_focused()
    tab_to(page, f".entry[href$='{made['id']}']")
    page.keyboard.press("Enter")
    expect(page.locator("#library-detail")).to_be_focused()
    tab_to(page, "#library-detail button.danger")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#library-detail")).to_be_hidden()
    assert api.http.get(f"/videos/{made['id']}").status_code == 404


def test_the_theme_is_the_systems_until_one_is_chosen(api: Api, visit: Open) -> None:
    page = visit(f"{api.url}/studio", color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Theme: auto").click()
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    assert page.evaluate(paper) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(paper) == dark
    kept = json.loads(page.evaluate("JSON.stringify(localStorage)"))
    assert kept == {"retake.theme": "dark"}
