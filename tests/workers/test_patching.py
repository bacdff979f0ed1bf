"""A replaced attribute is what it was before, however the block ends."""

from contextlib import ExitStack, suppress

import pytest
from torch import nn

from workers.patching import replaced


class Scheduler:
    def step(self) -> str:
        return "the class's own"


def test_a_method_shows_again() -> None:
    scheduler = Scheduler()
    with replaced(scheduler, "step", lambda: "ours"):
        assert scheduler.step() == "ours"
        assert Scheduler().step() == "the class's own"
    assert scheduler.step() == "the class's own"
    assert "step" not in vars(scheduler)


def test_an_attribute_of_the_object_comes_back() -> None:
    """As an offload hook leaves one: a forward of the module's own."""
    module = nn.Linear(1, 1)
    offloaded = module.forward
    module.forward = offloaded  # type: ignore[method-assign]
    with suppress(ZeroDivisionError), replaced(module, "forward", lambda x: x):
        raise ZeroDivisionError
    assert vars(module)["forward"] is offloaded


def test_the_last_replaced_is_the_first_put_back() -> None:
    scheduler = Scheduler()
    with ExitStack() as stack:
        for name in ("a", "b"):
            stack.enter_context(replaced(scheduler, "step", lambda name=name: name))
        assert scheduler.step() == "b"
    assert scheduler.step() == "the class's own"


def test_an_attribute_of_none_is_an_attribute() -> None:
    scheduler = Scheduler()
    vars(scheduler)["step"] = None
    with replaced(scheduler, "step", 1):
        pass
    assert vars(scheduler) == {"step": None}


def test_an_object_without_attributes_is_refused() -> None:
    with pytest.raises(TypeError), replaced(object(), "step", 1):
        pass
