"""The whole product: the embedded stack with the bundled model.

Once per module, not per run: tests of processes count those that live beside them.
"""

from collections.abc import Iterator

import openai
import pytest

from retake.client import Client
from retake.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def sdk(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key="unused on loopback") as client:
        yield client


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.base_url) as running:
        yield running
