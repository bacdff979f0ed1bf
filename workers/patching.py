"""Replacing an attribute of someone else's object for a while: a forward, a scheduler's step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block ``target.name`` is ``value``; afterwards it is what it was before.

    Only the object's own attribute is touched: one of its class is hidden, and shows again.
    """
    attributes = vars(target)
    missing = name not in attributes
    before = attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if missing:
            del attributes[name]
        else:
            attributes[name] = before
