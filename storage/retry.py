"""Trying a call again while a store is away: for so many seconds, with growing pauses.

The clients of both stores try again by themselves for some seconds. This is for what must outlast
that: a finished video, or a capture that cannot be repeated.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from redis.exceptions import RedisError

from storage.objects.objects import ObjectStoreError, ObjectTruncated

log = logging.getLogger("retake.storage")
T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """``store``: its name in the log. ``errors``: those that another try may not meet;
    ``permanent``: of these, the ones that it will meet again. Pauses double from
    ``first_pause_s`` up to ``max_pause_s``."""

    store: str
    errors: tuple[type[Exception], ...]
    permanent: tuple[type[Exception], ...] = ()
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0


# an object that ends too early is damaged: it will be no longer next time
OBJECT_STORE = RetryPolicy("object store", (ObjectStoreError,), permanent=(ObjectTruncated,))
REDIS = RetryPolicy("Redis", (RedisError,), max_pause_s=0.5)


class _Tries:
    """How long to pause after each failed try of one call."""

    def __init__(self, policy: RetryPolicy, patience_s: float, what: str) -> None:
        self._policy, self._what = policy, what
        self._deadline = time.monotonic() + patience_s
        self._pause_s = policy.first_pause_s

    def pause_after(self, error: Exception) -> float:
        """Seconds to wait before the next try; raises ``error`` if there is to be none."""
        pause_s = self._pause_s
        permanent = isinstance(error, self._policy.permanent)
        if permanent or time.monotonic() + pause_s > self._deadline:
            raise error
        log.warning(
            "%s: %s failed; again in %.1f s (%s)",
            self._what, self._policy.store, pause_s, type(error).__name__,
        )  # fmt: skip
        self._pause_s = min(2 * pause_s, self._policy.max_pause_s)
        return pause_s


def retry(
    call: Callable[[], T],
    policy: RetryPolicy,
    patience_s: float,
    *,
    what: str,
    stopped: threading.Event | None = None,
    between_tries: Callable[[], None] | None = None,
) -> T:
    """``call``'s result; after an error of ``policy`` it is tried again for ``patience_s``.

    ``what``: names the call in the log. ``stopped``: once set, the last error is raised instead of
    another try. ``between_tries`` is called before each further try, and may raise to end them:
    so a cancellation is noticed.
    """
    stopped = stopped or threading.Event()
    tries = _Tries(policy, patience_s, what)
    while True:
        try:
            return call()
        except policy.errors as error:
            if stopped.is_set():
                raise
            pause_s = tries.pause_after(error)
        stopped.wait(pause_s)
        if between_tries is not None:
            between_tries()


async def retry_async(
    call: Callable[[], Awaitable[T]], policy: RetryPolicy, patience_s: float, *, what: str
) -> T:
    """The same of a coroutine function; cancelling the task ends the tries."""
    tries = _Tries(policy, patience_s, what)
    while True:
        try:
            return await call()
        except policy.errors as error:
            pause_s = tries.pause_after(error)
        await asyncio.sleep(pause_s)
