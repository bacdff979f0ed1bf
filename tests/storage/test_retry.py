"""Trying again: for as long as was said, while that may help, and until somebody says stop."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.errors import JobCancelled
from storage.objects.objects import ObjectMissing, ObjectStoreError, ObjectTruncated
from storage.retry import OBJECT_STORE, REDIS, RetryPolicy, retry, retry_async

FAST = RetryPolicy("object store", (ObjectStoreError,), (ObjectTruncated,), 0.001, 0.002)


class Failing:
    """Raises each of ``errors`` in turn, then gives their number."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0

    def __call__(self) -> int:
        self.tries += 1
        if self.tries <= len(self.errors):
            raise self.errors[self.tries - 1]
        return len(self.errors)

    async def call(self) -> int:
        return self()


def test_a_call_is_tried_until_it_succeeds() -> None:
    call = Failing(*[ObjectStoreError("away")] * 5)
    assert retry(call, FAST, 60, what="a test") == 5
    assert call.tries == 6


async def test_so_is_a_coroutine() -> None:
    call = Failing(*[RedisConnectionError("away")] * 3)
    fast = RetryPolicy(REDIS.store, REDIS.errors, first_pause_s=0.001)
    assert await retry_async(call.call, fast, 60, what="a test") == 3


@pytest.mark.parametrize(
    "error", [ObjectTruncated("short"), ObjectMissing("none"), ZeroDivisionError()]
)
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    call = Failing(error)
    with pytest.raises(type(error)):
        retry(call, FAST, 60, what="a test")
    assert call.tries == 1


def test_no_try_begins_after_the_patience() -> None:
    call = Failing(*[ObjectStoreError("away")] * 100)
    with pytest.raises(ObjectStoreError):
        retry(call, OBJECT_STORE, 0.05, what="a test")  # its first pause is longer
    assert call.tries == 1


async def test_nor_of_a_coroutine() -> None:
    call = Failing(*[RedisConnectionError("away")] * 100)
    with pytest.raises(RedisConnectionError):
        await retry_async(call.call, REDIS, 0.05, what="a test")
    assert call.tries == 1


def test_pauses_grow_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy("object store", (ObjectStoreError,), (), 0.1, 0.4)
    call = Failing(*[ObjectStoreError("away")] * 4)
    stopped = NoWait()
    assert retry(call, policy, 60, what="job=a upload", stopped=stopped) == 4
    assert stopped.waited == [0.1, 0.2, 0.4, 0.4]
    assert "job=a upload: object store failed; again in 0.1 s" in caplog.text


class NoWait(threading.Event):
    """Never set, and waited for in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        return False


def test_a_cancellation_is_noticed_between_tries() -> None:
    call = Failing(*[ObjectStoreError("away")] * 100)

    def check() -> None:
        if call.tries == 3:
            raise JobCancelled("the job was cancelled")

    with pytest.raises(JobCancelled):
        retry(call, FAST, 60, what="a test", between_tries=check)
    assert call.tries == 3


def test_a_stopped_caller_gets_the_last_error() -> None:
    stopped = threading.Event()
    call = Failing(*[ObjectStoreError("away")] * 100)

    def fail_and_stop() -> int:
        stopped.set()
        return call()

    with pytest.raises(ObjectStoreError):
        retry(fail_and_stop, FAST, 60, what="a test", stopped=stopped)
    assert call.tries == 1


def test_a_stop_ends_the_pause() -> None:
    stopped = threading.Event()
    tried = threading.Event()

    def fail() -> int:
        tried.set()
        raise ObjectStoreError("away")

    patient = RetryPolicy("object store", (ObjectStoreError,), (), 60, 60)
    raised: list[Exception] = []
    thread = threading.Thread(target=lambda: raised.append(_error_of(fail, patient, stopped)))
    thread.start()
    assert tried.wait(10)
    stopped.set()
    thread.join(10)
    assert [type(error) for error in raised] == [ObjectStoreError]


def _error_of(call: Callable[[], int], policy: RetryPolicy, stopped: threading.Event) -> Exception:
    try:
        retry(call, policy, 600, what="a test", stopped=stopped)
    except ObjectStoreError as error:
        return error
    raise AssertionError("it did not fail")


async def test_a_cancelled_task_ends_its_tries() -> None:
    tried = asyncio.Event()

    async def fail() -> int:
        tried.set()
        raise RedisConnectionError("away")

    task = asyncio.create_task(retry_async(fail, REDIS, 600, what="a test"))
    await tried.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
