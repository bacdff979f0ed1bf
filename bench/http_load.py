"""A load generator in a process of its own, thin enough to saturate one server with one core.

``python -m bench.http_load`` reads one JSON job from stdin and writes its result to stdout:
``closed``: every connection asks again as soon as it is answered; gives requests per second.
``open``: requests start by the clock, answered or not; gives the time of each from its due start,
so that a server that stalls cannot slow its own clock (no coordinated omission).
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, request: bytes) -> int:
        """Send, read the whole answer; its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


def request_of(method: str, path: str, body: Any = None, headers: Sequence[str] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *headers]
    content = json.dumps(body).encode() if body is not None else b""
    if content:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def connections(port: int, count: int) -> list[Connection]:
    made = [Connection(port) for _ in range(count)]
    await asyncio.gather(*(connection.open() for connection in made))
    return made


async def closed_loop(job: Mapping[str, Any], request: bytes) -> dict[str, Any]:
    end, statuses = time.perf_counter() + job["seconds"], list[int]()
    pool = await connections(job["port"], job["connections"])

    async def loop(connection: Connection) -> None:
        while time.perf_counter() < end:
            statuses.append(await connection.ask(request))

    began = time.perf_counter()
    await asyncio.gather(*(loop(connection) for connection in pool))
    seconds = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return {"per_second": len(statuses) / seconds, "failed": sum(s != 200 for s in statuses)}


async def open_loop(job: Mapping[str, Any], request: bytes) -> dict[str, Any]:
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in await connections(job["port"], job["connections"]):
        free.put_nowait(connection)
    times, failed = list[float](), 0

    async def one(due: float) -> None:
        nonlocal failed
        connection = await free.get()
        failed += await connection.ask(request) != 200
        times.append(time.perf_counter() - due)
        free.put_nowait(connection)

    began, tasks = time.perf_counter(), []
    for number in range(round(job["seconds"] * job["per_second"])):
        due = began + number / job["per_second"]
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return {"times": sorted(times), "failed": failed}


async def main() -> None:
    job = json.loads(sys.stdin.read())
    request = request_of(job["method"], job["path"], job.get("body"), job.get("headers", ()))
    run = closed_loop if job["kind"] == "closed" else open_loop
    print(json.dumps(await run(job, request)))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
