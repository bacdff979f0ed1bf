"""Trying again while the store is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from storage.objects.objects import ObjectStoreError, ObjectTruncated

log = logging.getLogger("retake.artifacts")
T = TypeVar("T")


def patiently(
    call: Callable[[], T], patience_s: float, stopped: threading.Event | None = None
) -> T:
    """``call``'s result; after an ObjectStoreError again, for ``patience_s`` or until stopped."""
    stopped = stopped or threading.Event()
    deadline = time.monotonic() + patience_s
    delay_s = 0.1
    while True:
        try:
            return call()
        except ObjectTruncated:
            raise  # the object is damaged: it will be no longer next time
        except ObjectStoreError as error:
            if time.monotonic() + delay_s > deadline or stopped.is_set():
                raise
            log.warning("object store: %s; again in %.1f s", type(error).__name__, delay_s)
        stopped.wait(delay_s)
        delay_s = min(2 * delay_s, 5.0)
