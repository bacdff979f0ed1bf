"""The embedded Valkey: what it keeps, and that it never outlives who started it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from redis.asyncio import Redis

from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.jobs import open_jobs
from storage.jobs.records import LeaseLost
from storage.settings import StorageSettings
from tests.storage.specs import RESULT, make_spec

ACKNOWLEDGED = 500


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as valkey:
        yield valkey


def connect(url: str) -> Redis:
    return open_redis(StorageSettings(redis_url=url, object_url="file:///unused"))


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie is dead: its new parent has not looked yet


def kill(server: EmbeddedValkey) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


async def test_it_answers_on_a_private_socket_with_safe_settings(
    server: EmbeddedValkey, tmp_path: Path
) -> None:
    redis = connect(server.start(tmp_path))
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    assert await redis.config_get(*wanted) == wanted
    assert (tmp_path / "valkey.sock").stat().st_mode & 0o777 == 0o700
    await redis.aclose()


async def test_a_restart_keeps_everything(server: EmbeddedValkey, tmp_path: Path) -> None:
    redis = connect(server.start(tmp_path))
    await open_jobs(redis).store.submit([make_spec("a")])
    pid = server.pid
    server.stop()
    assert pid is not None
    assert not is_alive(pid)
    assert server.pid is None
    server.stop()
    server.start(tmp_path)
    assert (await open_jobs(redis).store.get("p", "a")).state.status == "queued"
    await redis.aclose()


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_acknowledged_submits_survive_kill_9(
    server: EmbeddedValkey, tmp_path: Path, appendfsync: Literal["always", "everysec"]
) -> None:
    """``always``: what was acknowledged is on disk. ``everysec``: what was acknowledged and then
    flushed, which the server does once a second; WAITAOF returns when it has. Between the two is
    the loss window: about a second, two while the disk is slow."""
    redis = connect(server.start(tmp_path, appendfsync=appendfsync))
    assert await redis.config_get("appendfsync") == {"appendfsync": appendfsync}
    jobs = open_jobs(redis)
    names = [f"v{number}" for number in range(ACKNOWLEDGED)]
    for first in range(0, ACKNOWLEDGED, 50):
        await asyncio.gather(
            *(jobs.store.submit([make_spec(n)]) for n in names[first : first + 50])
        )
    if appendfsync == "everysec":
        assert await redis.waitaof(1, 0, 10_000) == [1, 0]
    kill(server)

    server.start(tmp_path, appendfsync=appendfsync)
    found, more = await jobs.store.list("p", after=None, limit=1000, order="asc")
    assert not more
    assert {job.spec.id for job in found} == set(names)
    assert len(await jobs.queue.read("c", 1000)) == ACKNOWLEDGED
    await redis.aclose()


async def test_a_claim_that_a_crash_lost_gets_another_fence(
    server: EmbeddedValkey, tmp_path: Path
) -> None:
    """The file ends before the claim, as after a crash of the host under ``everysec``."""
    redis = connect(server.start(tmp_path))
    jobs = open_jobs(redis)
    await jobs.store.submit([make_spec("a")])
    await redis.waitaof(1, 0, 10_000)
    (written,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    size = written.stat().st_size
    lost = await jobs.claims.claim("a", "lost", 60)
    assert lost is not None
    kill(server)
    os.truncate(written, size)

    server.start(tmp_path)
    with pytest.raises(LeaseLost):  # the worker's next step, whether or not another has the job
        await jobs.claims.heartbeat(lost, 60)
    heir = await jobs.claims.claim("a", "heir", 60)
    assert heir is not None
    assert (heir.fence > lost.fence, heir.job.state.attempts) == (True, 1)
    with pytest.raises(LeaseLost):
        await jobs.claims.complete(lost, RESULT, None)
    await jobs.claims.complete(heir, RESULT, None)
    await redis.aclose()


async def test_calls_ride_out_a_restart(server: EmbeddedValkey, tmp_path: Path) -> None:
    """Scripts are loaded anew, connections opened anew; the callers notice nothing."""
    redis = connect(server.start(tmp_path))
    jobs = open_jobs(redis)
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.claims.heartbeat(claim, 60)
    kill(server)
    beat = asyncio.create_task(jobs.claims.heartbeat(claim, 60))
    submit = asyncio.create_task(jobs.store.submit([make_spec("b")]))
    read = asyncio.create_task(jobs.queue.read("c", 10))
    done, _ = await asyncio.wait([beat, submit, read], timeout=0.1)
    assert not done  # they met a dead server, and try again
    server.start(tmp_path)
    assert await beat is False
    assert (await submit)[0].state.status == "queued"
    assert "a" in [delivery.video_id for delivery in await read]
    await redis.aclose()


PARENT = """
import sys
from pathlib import Path
from storage.embedded.valkey import EmbeddedValkey
server = EmbeddedValkey()
server.start(Path(sys.argv[1]))
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_killed_parent_does_not_leave_the_server_running(
    server: EmbeddedValkey, tmp_path: Path, how: signal.Signals | None
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    with pytest.raises(RuntimeError, match="another embedded Valkey runs on this folder"):
        server.start(tmp_path)

    if how is None:
        parent.stdin.close()  # it ends by itself, and forgot to stop the server
    else:
        parent.send_signal(how)
    parent.wait()
    wait_for(lambda: not is_alive(pid), "the server's end")
    parent.stdin.close()
    parent.stdout.close()
    server.start(tmp_path)  # the folder's lock went with it


async def test_a_folder_may_have_any_name(server: EmbeddedValkey, tmp_path: Path) -> None:
    redis = connect(server.start(tmp_path / "a b%41?c#d"))
    assert await redis.ping()
    await redis.aclose()


async def test_a_deep_folder_gets_a_socket_elsewhere(
    server: EmbeddedValkey, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100)
    url = server.start(deep)
    redis = connect(url)
    assert await redis.ping()
    await redis.aclose()
    server.stop()
    assert not Path(url.removeprefix("unix://")).parent.exists()


async def test_start_refuses_what_cannot_work(server: EmbeddedValkey, tmp_path: Path) -> None:
    server.start(tmp_path / "one")
    with pytest.raises(RuntimeError, match="started already"):
        server.start(tmp_path / "two")
    server.stop()

    errors: list[str] = []

    def start() -> None:
        try:
            server.start(tmp_path / "thread")
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert errors == ["start the embedded Valkey from the main thread"]

    broken = tmp_path / "broken" / "appendonlydir"
    broken.mkdir(parents=True)
    (broken / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(RuntimeError, match="exited with status"):
        server.start(tmp_path / "broken")
