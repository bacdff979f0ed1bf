"""A real Chromium for tests of web pages. A test fails if its page logs an error, breaks its
policy, or asks another origin for anything.

Playwright's sync API keeps an event loop running in the test's thread while a browser is open:
call ``asyncio.run`` in another thread, or before the fixture ``visit`` is made.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP studio.test 127.0.0.1",
]
PICTURES = Path("runs/studio")
Open = Callable[..., Page]
expect.set_options(timeout=20_000)


def executable() -> str:
    """The path of a Chromium. Without one the test fails; it is not skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("these tests need Chromium: `scripts/setup test` as root installs Debian's")
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=FLAGS, chromium_sandbox=False
        )
        yield browser
        browser.close()


class Watch:
    """What a page requests and reports."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.requests: list[str] = []
        self.problems: list[str] = []

    def attach(self, page: Page) -> None:
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url.removeprefix("blob:"))
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.problems.append(f"a request to {request.url}")

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium also logs answers with an error status, which tests provoke
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.problems.append(message.text)


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Opens ``url`` in a new browser context: ``visit(url, **options of the context)``."""
    contexts, watches = [], []

    def open_page(url: str, **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        context.set_default_timeout(20_000)
        parts = urlsplit(url)
        watch = Watch(f"{parts.scheme}://{parts.netloc}")
        context.on("page", watch.attach)
        contexts.append(context)
        watches.append(watch)
        page = context.new_page()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [problem for watch in watches for problem in watch.problems] == []


def picture(page: Page, name: str) -> None:
    """Keep a screenshot for people to look at: ``runs/studio/{name}.png``."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
