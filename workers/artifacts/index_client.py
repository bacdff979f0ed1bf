"""What a worker tells Redis of artifacts: pins, uses, and who captures what.

The store's threads are not async and the index is: it runs on a thread of its own here. Artifacts
do not depend on Redis, so that its absence costs bookkeeping and never a job.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from redis.exceptions import RedisError

from schemas.artifacts import Manifest, artifact_id
from storage.artifact_index import ArtifactIndex
from storage.connect import open_redis
from storage.settings import StorageSettings

log = logging.getLogger("retake.artifacts")
T = TypeVar("T")

TTL_S = 60.0  # of pins and leases; renewed at a third of it while they are held


class Pin(NamedTuple):
    project: str
    source_key: str
    holder: str


class CaptureLease(NamedTuple):
    project: str
    source_key: str
    capture_key: str
    holder: str


class IndexClient:
    """One per worker process. Calls block for ``answer_s`` seconds at most and never raise."""

    def __init__(self, settings: StorageSettings, *, answer_s: float = 5.0) -> None:
        self._settings = settings
        self._answer_s = answer_s
        self._pins: set[Pin] = set()
        self._leases: set[CaptureLease] = set()
        self._loop = asyncio.new_event_loop()
        self._index: ArtifactIndex
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="artifact-index", daemon=True)
        self._thread.start()
        self._ready.wait()

    def pin(self, pin: Pin) -> bool:
        """Hold a source's artifacts. False: one is being deleted, do not read."""
        held = self._ask(lambda index: index.pin(*pin, TTL_S), True)
        if held:
            self._pins.add(pin)
        return held

    def unpin(self, pin: Pin) -> None:
        self._pins.discard(pin)
        self._ask(lambda index: index.unpin(*pin), None)

    def begin_capture(self, lease: CaptureLease, video_id: str = "") -> bool:
        """False: the same is being captured for another video than ``video_id``."""
        held = self._ask(
            lambda index: index.begin_capture(*lease, TTL_S, successor_of=video_id), True
        )
        if held:
            self._leases.add(lease)
        return held

    def end_capture(self, lease: CaptureLease) -> None:
        self._leases.discard(lease)
        self._ask(lambda index: index.end_capture(*lease), None)

    def add(self, manifest: Manifest, video_id: str) -> None:
        self._ask(lambda index: index.add(manifest, video_id=video_id), None)

    def touch(self, manifest: Manifest, video_id: str) -> None:
        id = artifact_id(manifest.source_key, manifest.capture_key)
        self._ask(lambda index: index.touch(manifest.project, id, video_id=video_id), None)

    def remove(self, manifest: Manifest) -> None:
        """List it no longer: it was found damaged."""
        id = artifact_id(manifest.source_key, manifest.capture_key)
        self._ask(lambda index: index.remove(manifest.project, id, even_pinned=True), False)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _ask(self, call: Callable[[ArtifactIndex], Awaitable[T]], otherwise: T) -> T:
        async def answer() -> T:
            return await asyncio.wait_for(call(self._index), self._answer_s)

        try:
            return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("artifact index: %s", type(error).__name__)
            return otherwise

    def _serve(self) -> None:
        """The thread: the connection lives and dies here."""
        asyncio.set_event_loop(self._loop)
        redis = open_redis(self._settings)
        self._index = ArtifactIndex(redis, prefix=self._settings.redis_prefix)
        renewals = self._loop.create_task(self._renew())
        self._ready.set()
        self._loop.run_forever()
        renewals.cancel()
        self._loop.run_until_complete(asyncio.gather(renewals, return_exceptions=True))
        self._loop.run_until_complete(redis.aclose())
        self._loop.close()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(TTL_S / 3)
            try:
                for pin in list(self._pins):
                    await self._index.pin(*pin, TTL_S)
                for lease in list(self._leases):
                    await self._index.begin_capture(*lease, TTL_S)
            except (RedisError, OSError) as error:
                log.warning("artifact index: not renewed (%s)", type(error).__name__)
