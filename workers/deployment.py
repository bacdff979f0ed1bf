"""The Ray Serve application: Dispatchers that read the queue, VideoWorkers that run jobs.

Heavy imports happen in the VideoWorker's process only. Serve supervises both: it restarts what
dies, drains what it stops, and makes more VideoWorkers while calls wait.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, cast

import ray
from ray import serve
from ray.serve import Deployment
from ray.serve.deployment import Application
from ray.serve.handle import DeploymentHandle
from redis import RedisError

from schemas.models import ModelCard
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import Jobs, open_jobs
from storage.objects.objects import ObjectStore
from workers.control.dispatcher import Dispatching
from workers.control.engine_protocol import Engine
from workers.control.lease import HandBack, Lease
from workers.control.routing import ROUTER
from workers.control.routing_request import RoutingRequest, replica_count
from workers.control.run_job import JobContext, run_job
from workers.logs import start_logging
from workers.settings import WorkerSettings

log = logging.getLogger("retake.worker")

APP = "retake"
_MARGIN = 1  # calls beyond the replicas: the next job is there when one becomes free
_CARD_TTL_S = 30.0
_OFFER_S = 3.0  # an API process that has just started is ready with the next offer
_STOP_S = 30.0  # beyond the longest job: files, manifest, commit

_ROUTING = {
    "request_router_class": ROUTER,
    "request_routing_stats_period_s": 1.0,
    # the router itself waits for a replica to become free
    "initial_backoff_s": 0.001,
    "max_backoff_s": 0.001,
}
OpenEngine = Callable[[WorkerSettings, ObjectStore], Engine]


def open_pipelines(settings: WorkerSettings, objects: ObjectStore) -> Engine:
    """The engine that serves: diffusers pipelines. Imports torch."""
    from workers.engine.engine import PipelineEngine

    if settings.ranks == 1:
        return PipelineEngine(settings, objects)
    from workers.engine.actors import Ranks

    return PipelineEngine(settings, objects, Ranks(settings))


class Dispatcher:
    """A Serve replica around ``Dispatching``."""

    def __init__(self, settings: WorkerSettings, worker: DeploymentHandle[Any]) -> None:
        start_logging(settings)
        queue = open_job_store(settings).queue
        self._settings, self._worker = settings, worker
        self._dispatching = Dispatching(queue, self._call, self._capacity, settings.lease_s)
        self._dispatching.start()

    async def _call(self, request: RoutingRequest) -> None:
        response = self._worker.remote(request)
        try:
            await response
        except asyncio.CancelledError:
            response.cancel()  # type: ignore[no-untyped-call]  # Ray's
            raise

    def _capacity(self) -> int:
        return math.ceil(replica_count.replicas / self._settings.dispatchers) + _MARGIN

    async def drain(self, timeout_s: float) -> None:
        """Hand out nothing more; jobs that run for longer than ``timeout_s`` are handed back."""
        await self._dispatching.drain(timeout_s)

    def check_health(self) -> None:
        if not self._dispatching.healthy:
            raise RuntimeError("a loop of the dispatcher ended")

    async def __del__(self) -> None:
        # Serve awaits it: a replica that is replaced sees its calls through
        await self._dispatching.drain(self._settings.longest_job_s)


class VideoWorker:
    """A Serve replica that holds models and runs one job at a time."""

    def __init__(self, settings: WorkerSettings, open_engine: OpenEngine) -> None:
        start_logging(settings)
        objects = open_objects(settings.storage)
        self._engine = open_engine(settings, objects)
        jobs = open_job_store(settings)
        self._registry = jobs.models
        self._context = JobContext(
            worker=ray.get_runtime_context().get_actor_id() or "local",
            claims=jobs.claims,
            objects=objects,
            engine=self._engine,
            settings=settings,
        )
        self._lease: Lease | None = None
        self._one_at_a_time = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._offering = asyncio.create_task(self._offer())

    async def __call__(self, request: RoutingRequest) -> None:
        """Run a job; returns when this worker is done with it. Raises RedisError."""
        job = asyncio.create_task(self._run(request.video_id))
        self._running.add(job)
        job.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            # a dispatcher that drains; one that dies does not end the job
            if self._lease is not None:
                self._lease.interrupt(HandBack())
            raise

    async def _run(self, video_id: str) -> None:
        async with self._one_at_a_time:
            self.check_health()  # a broken process would use up the attempts of every job
            await run_job(self._context, video_id, self._on_lease)

    def _on_lease(self, lease: Lease | None) -> None:
        self._lease = lease

    def record_routing_stats(self) -> dict[str, list[str]]:
        """What Serve's controller asks for every second; ``SourceRouter`` reads it."""
        return {
            "models": self._engine.loaded_models(),
            "sources": self._engine.held_sources(),
        }

    def check_health(self) -> None:
        """Raises where only a new process helps: a hung job, a broken device, a lost rank."""
        if self._lease is not None and self._lease.stalled:
            raise RuntimeError("the running job hangs")
        self._engine.check_health()

    async def _offer(self) -> None:
        """Keep the models' cards published while this process lives."""
        while True:
            try:
                for card in self._engine.cards():
                    await self._publish(card)
            except RedisError as error:
                log.warning("models not published: %s", type(error).__name__)
            await asyncio.sleep(_OFFER_S)

    async def _publish(self, card: ModelCard) -> None:
        await self._registry.publish(card, _CARD_TTL_S)


def open_job_store(settings: WorkerSettings) -> Jobs:
    """Of this process, on a connection of its own."""
    return open_jobs(
        open_redis(settings.storage),
        prefix=settings.storage.redis_prefix,
        max_attempts=settings.max_attempts,
        generation=settings.generation,
    )


def build(settings: WorkerSettings, open_engine: OpenEngine = open_pipelines) -> Application:
    """The application; ``open_engine`` is called once in each VideoWorker's process."""
    worker = cast(Deployment, serve.deployment(VideoWorker)).options(
        max_ongoing_requests=1,
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        **_bundles(settings),
        request_router_config=_ROUTING,
        graceful_shutdown_timeout_s=settings.longest_job_s + _STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        health_check_timeout_s=5,
        **_scale(settings),
    )
    dispatcher = cast(Deployment, serve.deployment(Dispatcher)).options(
        num_replicas=settings.dispatchers,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.longest_job_s + _STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2,
        health_check_timeout_s=5,
    )
    return dispatcher.bind(settings, worker.bind(settings, open_engine))


def _bundles(settings: WorkerSettings) -> dict[str, Any]:
    """A placement group for a replica of several ranks: a bundle each, on one node."""
    if settings.ranks == 1:
        return {}
    # Ray refuses a bundle of nothing
    bundle = {"CPU": max(settings.num_cpus, 0.01), "GPU": settings.num_gpus}
    return {
        "placement_group_bundles": [
            {name: count for name, count in bundle.items() if count} for _ in range(settings.ranks)
        ],
        "placement_group_strategy": "STRICT_PACK",
    }


def app(_: dict[str, str]) -> Application:
    """The application for `serve deploy` and KubeRay; settings come from the environment."""
    return build(WorkerSettings(), open_pipelines)


def _scale(settings: WorkerSettings) -> dict[str, Any]:
    if settings.most_replicas == settings.replicas:
        return {"num_replicas": settings.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": settings.replicas,
            "max_replicas": settings.most_replicas,
            "target_ongoing_requests": 1,
            "metrics_interval_s": 1.0,
            "look_back_period_s": 5.0,
            "upscale_delay_s": settings.upscale_delay_s,
            "downscale_delay_s": settings.downscale_delay_s,
        }
    }
