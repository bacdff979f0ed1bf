"""Whether this process can take work: asked by load balancers, several times a minute."""

import asyncio
import contextlib
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.catalogue import Catalogue
from storage.jobs.model_registry import ModelRegistry
from storage.objects.objects import ObjectStore, ObjectStoreError

FRESH_S = 1.0  # however many ask, the stores are asked once in that time
ANSWER_S = 5.0  # a store that takes longer counts as away; a probe does not wait for ever
REDIS = "the job store does not answer, or takes no writes"
OBJECTS = "the object store does not answer, or takes no writes"
NO_MODEL = "no model is loaded yet"
NO_WORKER = "no worker has been heard of since this process started"


class Readiness:
    """``problem`` looks at everything that accepting a job needs.

    A worker must have been heard of once since ``start``: models stay listed for a
    while after their workers are gone, as they are when a whole stack is started again. Later on a
    service without workers stays ready: it accepts jobs, which wait.
    """

    def __init__(
        self,
        redis: Redis,
        objects: ObjectStore,
        models: ModelRegistry,
        catalogue: Catalogue,
        prefix: str,
    ) -> None:
        self._redis, self._objects, self._models = redis, objects, models
        self._catalogue, self._probe = catalogue, f"{prefix}:ready"
        self._since_ms: int | None = None
        self._worker_heard = False
        self._problem: str | None = None
        self._fresh_until = 0.0
        self._looking = asyncio.Lock()
        self._checking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Note the time, by Redis' clock; where that is away, the first look does."""
        with contextlib.suppress(RedisError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                self._since_ms = await self._now_ms()

    async def problem(self) -> str | None:
        """What is missing, for a client to read; None: nothing is."""
        async with self._looking:
            if time.monotonic() >= self._fresh_until:
                self._problem = await self._look()
                self._fresh_until = time.monotonic() + FRESH_S
            return self._problem

    async def _look(self) -> str | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                # refused where it is out of memory, or its own disk is full
                await self._redis.set(self._probe, "1", ex=60)
                waits_for = await self._missing_worker()
        except (RedisError, TimeoutError):
            return REDIS
        return waits_for if await self._can_store() else OBJECTS

    async def _missing_worker(self) -> str | None:
        if not await self._catalogue.cards():
            return NO_MODEL
        if not self._worker_heard:
            if self._since_ms is None:
                self._since_ms = await self._now_ms()
            self._worker_heard = await self._models.last_offer_ms() > self._since_ms
        return None if self._worker_heard else NO_WORKER

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._redis.time()
        return 1000 * int(seconds) + int(microseconds) // 1000

    async def _can_store(self) -> bool:
        """One check at a time: a store that hangs would take all threads of the process."""
        if self._checking is None:
            self._checking = asyncio.create_task(asyncio.to_thread(self._objects.check))
        done, _ = await asyncio.wait([self._checking], timeout=ANSWER_S)
        if not done:
            return False
        checked, self._checking = self._checking, None
        return not isinstance(checked.exception(), ObjectStoreError)
