"""Hands queued jobs to workers: reads the queue, calls a VideoWorker, acknowledges.

It holds no state that matters: an entry stays in the queue until its job has ended, so a
dispatcher may die at any point, and another takes its entries over.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine

from ray.exceptions import ActorDiedError, RayError
from ray.serve.exceptions import RayServeException
from redis import RedisError

from schemas.errors import JobFailed
from schemas.jobs import JobError, JobSpec
from storage.jobs.queue import JobQueue
from storage.jobs.records import Delivery
from workers.control.routing_request import RoutingRequest

log = logging.getLogger("retake.dispatcher")

_BLOCK_MS = 5_000
_PAUSE_S = 0.5  # after trouble with Redis
_KEEP_ALIVE_S = 1.0
_SILENT_MS = 5_000  # a takeover too many does no harm: the worker's claim decides
_FIRST_PAUSE_S = 0.05
_HAND_BACK_S = 60.0  # the longest step
DIED = JobError(code=JobFailed.code, message="the worker's process died while it ran the job")

Call = Callable[[RoutingRequest], Awaitable[None]]


class Dispatching:
    """The loops of one dispatcher.

    ``call``: runs a job on some worker and returns when that worker is done with it; cancelled, it
    lets the worker hand the job back.
    ``capacity``: how many calls may be open: one per worker, and a few that wait their turn, so
    that a worker never idles and that Serve sees the backlog it scales on.
    ``lease_s``: of the workers' claims.
    """

    def __init__(
        self, queue: JobQueue, call: Call, capacity: Callable[[], int], lease_s: float
    ) -> None:
        self._queue, self._call, self._capacity, self._lease_s = queue, call, capacity, lease_s
        self.consumer = uuid.uuid4().hex
        self._held: dict[str, Delivery] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._calls: dict[asyncio.Future[None], str] = {}  # to the id of its job
        self._rescued: set[str] = set()
        self._freed = asyncio.Event()
        self._taking = True
        self._loops: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to hand out jobs, from the running event loop."""
        for once in (self._read, self._take_over, self._keep_alive, self._rescue):
            self._loops[once.__name__] = asyncio.create_task(self._loop(once))

    async def drain(self, timeout_s: float) -> None:
        """Take nothing more and let go of the jobs that no worker has begun; wait for those that
        run, then have the rest handed back.

        Returns when none is in flight, at the latest a minute after ``timeout_s``.
        """
        self._taking = False
        taking = [self._loops[name] for name in ("_read", "_take_over", "_rescue")]
        for loop in taking:
            loop.cancel()
        await asyncio.wait(taking)
        await asyncio.gather(*map(self._leave, list(self._held.values())))
        if self._work:
            await asyncio.wait(self._work, timeout=timeout_s)
        for call in list(self._calls):  # the workers hear of it, and hand back at the next step
            call.cancel()
        if self._work:
            await asyncio.wait(self._work, timeout=_HAND_BACK_S)

    async def _leave(self, delivery: Delivery) -> None:
        """Give up a job that waits for a worker: it would keep this process, or be begun by it."""
        if await self._let_go(delivery):
            self._held.pop(delivery.entry_id, None)
            for call, video_id in list(self._calls.items()):
                if video_id == delivery.video_id:
                    call.cancel()

    async def _let_go(self, delivery: Delivery) -> bool:
        try:
            return await self._queue.let_go(delivery)
        except RedisError as error:  # then another takes it over when we are gone
            log.warning("job=%s not let go: %s", delivery.video_id, type(error).__name__)
            return False

    @property
    def healthy(self) -> bool:
        return not self._taking or not any(loop.done() for loop in self._loops.values())

    async def _loop(self, once: Callable[[], Awaitable[None]]) -> None:
        # the flag beside cancel(): redis-py can swallow a cancellation
        while self._taking or once == self._keep_alive:
            try:
                await once()
            except RedisError as error:
                log.warning("Redis failed, trying again: %s", type(error).__name__)
                await asyncio.sleep(_PAUSE_S)

    async def _read(self) -> None:
        free = self._capacity() - len(self._work)
        if free < 1:
            self._freed.clear()
            with contextlib.suppress(TimeoutError):  # there may be more workers by then
                await asyncio.wait_for(self._freed.wait(), 1.0)
            return
        for delivery in await self._queue.read(self.consumer, free, block_ms=_BLOCK_MS):
            self._take(delivery)

    async def _take_over(self) -> None:
        await asyncio.sleep(_KEEP_ALIVE_S)
        for delivery in await self._queue.reclaim(self.consumer, _SILENT_MS):
            log.info("job=%s taken over from a silent dispatcher", delivery.video_id)
            self._take(delivery)

    async def _keep_alive(self) -> None:
        await asyncio.sleep(_KEEP_ALIVE_S)
        # its job ended, or another dispatcher has it by now; a worker that runs it goes on
        for lost in await self._queue.keep_alive(self.consumer, list(self._held.values())):
            self._held.pop(lost.entry_id, None)

    async def _rescue(self) -> None:
        """Call another worker where the lease of one that was called is over.

        The first call may be open for long yet: a stopped process neither answers nor dies.
        """
        await asyncio.sleep(self._lease_s / 3)
        held = {delivery.video_id: delivery for delivery in self._held.values()}
        for video_id in set(await self._queue.list_lapsed()) & set(held) - self._rescued:
            log.warning("job=%s lease over, worker silent: calling another", video_id)
            self._rescued.add(video_id)
            self._begin(self._call_again(held[video_id]))

    async def _call_again(self, delivery: Delivery) -> None:
        await self._call_worker(routing_request_of(delivery.spec))
        self._rescued.discard(delivery.video_id)

    def _take(self, delivery: Delivery) -> None:
        if delivery.entry_id in self._held:
            return  # our own, back from a time when we could not keep it alive
        self._held[delivery.entry_id] = delivery
        self._begin(self._see_through(delivery))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        self._freed.set()

    async def _see_through(self, delivery: Delivery) -> None:
        """Call workers with one job until its entry can be dropped or is another's."""
        request, pause_s = routing_request_of(delivery.spec), _FIRST_PAUSE_S
        await self._call_worker(request)
        while delivery.entry_id in self._held:
            try:
                if await self._queue.ack(delivery):
                    break
            except RedisError as error:
                log.warning("job=%s not acknowledged: %s", request.video_id, type(error).__name__)
            if not self._taking and await self._let_go(delivery):
                break
            # another worker's lease is alive, or this one died
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._lease_s / 3)
            if self._taking:
                await self._call_worker(request)
        self._held.pop(delivery.entry_id, None)

    async def _call_worker(self, request: RoutingRequest) -> None:
        call = asyncio.ensure_future(self._call(request))
        self._calls[call] = request.video_id
        try:
            await asyncio.wait([call])
            call.result()
        except asyncio.CancelledError:
            if not call.cancelled():  # not the call was, we are
                raise
        except ActorDiedError as error:
            log.warning("job=%s its worker died", request.video_id)
            if error.actor_id:
                await self._forfeit(request.video_id, error.actor_id)
        except (RayError, RayServeException) as error:
            log.warning("job=%s call failed: %s", request.video_id, type(error).__name__)
        finally:
            self._calls.pop(call, None)

    async def _forfeit(self, video_id: str, worker: str) -> None:
        try:
            await self._queue.forfeit(video_id, worker, DIED)
        except RedisError as error:  # then the lease ends by itself
            log.warning("job=%s lease not ended: %s", video_id, type(error).__name__)


def routing_request_of(spec: JobSpec) -> RoutingRequest:
    """A job as the router sees it. A map is read from the source's own tensors."""
    source_key = spec.edit_source_key if spec.look is None else spec.source_key
    return RoutingRequest(spec.id, spec.recipe.generation.model, source_key)
