"""Studio in a browser, over the API and the scripted worker."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Open
from tests.service.conftest import Api

HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b> {{1}} \'"`$(id)'


@pytest.fixture
def page(api: Api, visit: Open) -> Page:
    """The page of the server that most tests share."""
    return visit(f"{api.url}/studio")


def make(page: Page, prompt: str, **settings: Any) -> None:
    """Fill the form of Make, ``settings`` by the API's names, and send it."""
    form = page.locator("#make-form")
    expect(form.get_by_label("Seed")).to_be_visible()
    form.get_by_label("Prompt", exact=True).fill(prompt)
    for name, value in settings.items():
        form.locator(f"[name={name}]").fill(str(value))
    form.get_by_role("button", name="Make the video").click()
