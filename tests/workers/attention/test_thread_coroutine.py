"""One of the two runs at a time, what fails reaches the caller, and the thread always ends."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
import torch

from workers.attention.thread_coroutine import ThreadCoroutine

NAME = "lockstep-test"


@pytest.fixture
def lockstep() -> Iterator[ThreadCoroutine]:
    lockstep = ThreadCoroutine(NAME)
    yield lockstep
    lockstep.close()
    assert NAME not in [each.name for each in threading.enumerate()]


def test_turns(lockstep: ThreadCoroutine) -> None:
    said: list[str] = []

    def body() -> None:
        for number in range(3):
            said.append(f"body {number}")
            lockstep.pause()

    lockstep.begin(body)
    assert said == [], "it waits to be asked"
    while lockstep.resume():
        said.append("caller")
    assert said == ["body 0", "caller", "body 1", "caller", "body 2", "caller"]
    assert not lockstep.resume(), "it has ended"


def test_a_failure_is_the_callers(lockstep: ThreadCoroutine) -> None:
    def body() -> None:
        lockstep.pause()
        raise ValueError("of the body")

    lockstep.begin(body)
    assert lockstep.resume()
    with pytest.raises(ValueError, match="of the body"):
        lockstep.resume()
    assert not lockstep.resume()


@pytest.mark.parametrize("turns", [0, 1])
def test_another_body_ends_the_one_before(lockstep: ThreadCoroutine, turns: int) -> None:
    """Whether it paused or was never asked; what it holds is let go."""
    unwound: list[int] = []

    def body() -> None:
        try:
            lockstep.pause()
        finally:
            unwound.append(threading.get_ident())

    lockstep.begin(body)
    for _ in range(turns):
        assert lockstep.resume()
    threads: list[int] = []
    lockstep.begin(lambda: threads.append(threading.get_ident()))
    assert not lockstep.resume()
    assert unwound == threads * turns, "one thread for all bodies"


def test_closed_in_the_middle(lockstep: ThreadCoroutine) -> None:
    lockstep.begin(lockstep.pause)
    assert lockstep.resume()
    lockstep.close()
    lockstep.close()


def test_the_callers_modes(lockstep: ThreadCoroutine) -> None:
    """What torch and Python keep for each thread is as where the body was begun."""
    variable: ContextVar[str] = ContextVar("variable", default="of the thread")
    seen: list[object] = []

    def body() -> None:
        seen.extend([torch.is_inference_mode_enabled(), variable.get()])
        seen.append(torch.ones(2, 2) @ torch.ones(2, 2))

    variable.set("of the caller")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        lockstep.begin(body)
    lockstep.resume()
    inference, value, product = seen
    assert (inference, value) == (True, "of the caller")
    assert isinstance(product, torch.Tensor)
    assert product.dtype == torch.bfloat16
