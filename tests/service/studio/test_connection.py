"""A server that goes and comes back, and one that asks for keys, as the page takes them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Route, expect

from service.settings import ServiceSettings
from storage.keys import Scope
from storage.settings import StorageSettings
from tests.browser import Open, picture
from tests.servers import free_ports
from tests.service.conftest import Serve, make_key, running
from tests.service.studio.conftest import make
from tests.service.worker import Worker


def test_a_job_is_followed_on_when_the_server_is_back(
    own_storage: StorageSettings, visit: Open
) -> None:
    worker = Worker(own_storage)
    worker.start()
    settings = ServiceSettings(storage=own_storage, port=free_ports(1)[0])
    with running(settings) as api:
        page = visit(f"{api.url}/studio")
        make(page, "[hold] A car.")
        tile = page.locator("#make-jobs .tile")
        expect(tile.locator(".status")).to_contain_text("Step 1 of")
        seen: list[str | None] = []
        page.on(
            "request",
            lambda request: (
                seen.append(request.headers.get("last-event-id"))
                if request.url.endswith("/events")
                else None
            ),
        )
    banner = page.get_by_text("The server does not answer.")
    expect(banner).to_be_visible()
    picture(page, "lost")
    page.get_by_label("Prompt", exact=True).fill("Asked for while it was away.")
    page.get_by_role("button", name="Make the video").click()
    worker.release()
    with running(settings) as api:
        expect(tile).to_have_count(2)
        expect(page.locator(".tile[data-status=completed]")).to_have_count(2)
        expect(banner).to_be_hidden()
        assert api.count() == 2, "sent again and again, and made once"
        assert seen
        assert seen[0], "it went on behind the last event that it saw"
    worker.stop()


def test_an_answer_that_is_lost_makes_no_second_video(serve: Serve, visit: Open) -> None:
    api = serve()
    made: list[str] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method == "POST" and not made:
            made.append(route.fetch().json()["id"])  # the server has it, the page does not
            route.abort()
        else:
            route.continue_()

    page = visit(f"{api.url}/studio")
    page.route("**/v1/videos", lose_the_first)
    make(page, "A car.")
    expect(page.locator("#make-jobs .tile")).to_have_attribute("data-status", "completed")
    expect(page.locator("#make-jobs .tile")).to_have_attribute("data-id", made[0])
    assert api.count() == 1


def test_a_key_is_asked_for_once_and_kept_in_the_tab(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    secret = make_key_apart(own_storage)
    api = serve(auth="keys", key_cache_s=0)
    page = visit(f"{api.url}/studio")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("no API key: send it as Authorization: Bearer")
    dialog.get_by_label("API key").fill("rtk_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("this API key is unknown, revoked or expired")
    dialog.get_by_label("API key").fill(secret)
    dialog.get_by_role("button", name="Use the key").click()
    expect(dialog).to_be_hidden()
    make(page, "A car.")
    expect(page.locator("#make-jobs .tile")).to_have_attribute("data-status", "completed")
    page.wait_for_function("() => document.querySelector('#make-jobs video').currentTime > 0")
    page.reload()
    expect(page.locator("#make-form [name=seed]")).to_be_visible()
    expect(dialog).to_be_hidden()

    kept = page.evaluate("JSON.stringify([{...localStorage}, document.cookie, location.href])")
    assert secret not in kept
    assert secret in json.dumps(page.evaluate("({...sessionStorage})"))
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_contain_text("no API key")
    assert secret not in json.dumps(page.evaluate("({...sessionStorage})"))


def test_over_plain_http_from_another_machine(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    """There, browsers keep the clipboard and some of their crypto API from pages."""
    secret = make_key_apart(own_storage)
    api = serve(auth="keys")
    page = visit(f"{api.url.replace('127.0.0.1', 'studio.test')}/studio")
    assert page.evaluate("isSecureContext") is False
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    make(page, "A car.")
    tile = page.locator("#make-jobs .tile")
    expect(tile).to_have_attribute("data-status", "completed")
    tile.get_by_role("link", name="Details").click()
    page.get_by_text("Python that makes it again").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Selected")).to_be_visible()
    assert "client.videos.poll" in page.evaluate("String(getSelection())")


@pytest.mark.parametrize("section", ["keep", "inside", "library"])
def test_without_a_key_the_page_says_why_it_is_empty(
    serve: Serve, own_storage: StorageSettings, visit: Open, section: str
) -> None:
    make_key_apart(own_storage)
    page = visit(f"{serve(auth='keys', worker=False).url}/studio#{section}")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(f"#{section} .failure")).to_contain_text("no API key")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_reader_is_told_what_the_key_may_not(
    serve: Serve, own_storage: StorageSettings, visit: Open
) -> None:
    secret = make_key_apart(own_storage, "read")
    page = visit(f"{serve(auth='keys').url}/studio")
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    make(page, "A car.")
    alert = page.locator("#make-form").get_by_role("alert")
    expect(alert).to_have_text("this key's scopes are read; this call needs write")


def make_key_apart(storage: StorageSettings, *scopes: Scope) -> str:
    """A key's secret, made in a thread that has no browser's loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(make_key, storage, "alice", *scopes).result()
