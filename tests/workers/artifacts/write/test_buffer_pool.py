"""The pool never holds more than its limit, and whoever waits is served or told."""

import threading
import time

import pytest

from workers.artifacts.write.buffer_pool import BufferPool, PoolClosed

DEADLINE_S = 10


def test_a_take_beyond_the_limit_waits_for_a_give() -> None:
    pool = BufferPool(100)
    first = pool.take(60)
    taken = threading.Event()

    def take() -> None:
        pool.take(60)
        taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while pool.waited == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not taken.is_set()
    pool.give(first)
    assert taken.wait(DEADLINE_S)
    thread.join()
    assert pool.peak_bytes <= 100


def test_what_is_kept_counts_until_it_is_released() -> None:
    pool = BufferPool(100)
    pool.give(pool.take(80), keep_bytes=50)
    assert pool._full(60)
    pool.release(50)
    assert not pool._full(60)


def test_buffers_are_used_again() -> None:
    pool = BufferPool(100)
    buffer = pool.take(40)
    pool.give(buffer)
    assert pool.take(40).data_ptr() == buffer.data_ptr()


def test_idle_buffers_of_another_size_make_room() -> None:
    pool = BufferPool(100)
    pool.give(pool.take(80))
    pool.take(60)
    assert pool._idle_bytes == 0


def test_page_locked_buffers_count_as_the_blocks_they_are() -> None:
    with pytest.raises(ValueError, match="128 bytes do not fit a pool of 100"):
        BufferPool(100, pinned=True).take(65)


def test_more_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="101 bytes do not fit a pool of 100"):
        BufferPool(100).take(101)


def test_close_wakes_who_waits() -> None:
    pool = BufferPool(100)
    pool.take(100)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(PoolClosed):
            pool.take(1)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    pool.close()
    assert ended.wait(DEADLINE_S)
    thread.join()
