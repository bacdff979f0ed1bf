"""The ranks of a Serve replica as Ray actors in its placement group; the replica itself is rank 0.

Bundle r of the placement group is rank r's. Ray ends the actors with the replica. One that ends
alone, or a run that the ranks did not end together, leaves a group that is of no use: then
``check_health`` raises, and Serve replaces the replica with all its ranks.
"""

import contextlib
import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from typing import cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from schemas.selection import ResolvedRecipe
from workers.attention.transfer import Capture, StoredAttention
from workers.control.failure_policy import is_out_of_memory
from workers.generation.context_parallel import RankTask, generate_context_parallel
from workers.generation.denoise import Generated, OnStep
from workers.generation.generate import check_fits
from workers.logs import start_logging
from workers.models.model_cache import ModelCache, set_threads
from workers.models.pipelines import LoadedModel
from workers.models.rank_group import RankGroup, Stopped, listen
from workers.settings import WorkerSettings

log = logging.getLogger("retake.ranks")

_OUT_OF_MEMORY = "out of memory"


class RankLost(RuntimeError):
    """A rank died, failed or was silent for too long; the job may run again elsewhere."""


class Rank:
    """A Ray actor: one of the ranks from 1 on. It runs what rank 0 orders, in step with it."""

    def __init__(self, settings: WorkerSettings, rank: int, port: int) -> None:
        start_logging(settings)
        set_threads(settings)
        self._group = RankGroup.join(port, rank, settings.ranks, settings.rank_timeout_s)
        self._models = ModelCache(settings, self._group)

    def served(self) -> list[str]:
        """The ids of the models that this rank could load."""
        return [card.id for card in self._models.cards()]

    def perform(self, task: RankTask) -> None:
        """Run ``task`` beside the others. A failure of this rank's own ends its process."""
        try:
            with contextlib.suppress(Stopped):
                model = self._models.get(task.model)
                model.pictures.clear()
                model.pictures.update(task.pictures)
                generate_context_parallel(model, task)
        except Exception as error:
            log.exception("rank %d failed", self._group.rank)
            self._group.leave_failure_reason(
                _OUT_OF_MEMORY if is_out_of_memory(error) else type(error).__name__
            )
            os._exit(1)

    def live(self) -> None:
        """Never returns: whoever waits for it hears of this process's end."""
        threading.Event().wait()


class Ranks:
    """Rank 0's side. ``group``: to load models with. For one thread, but for ``check_health``."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Starts the actors; returns when all have met. Raises RankLost, ValueError."""
        placement = get_current_placement_group()
        if placement is None:
            raise ValueError(f"ranks: {settings.ranks} need a replica with a placement group")
        store = listen()
        self._timeout_s = settings.rank_timeout_s
        self._actors = [
            _start(settings, placement, rank, store.port) for rank in range(1, settings.ranks)
        ]
        # asked now and waited for by nobody: they are done when the process is
        self._lives: list[Future[None]] = [actor.live.remote().future() for actor in self._actors]
        self._lost: str | None = None
        while not store.check([f"here/{rank}" for rank in range(1, settings.ranks)]):
            self.check_health()  # one that dies on its way never comes
            time.sleep(0.05)
        self.group = RankGroup(store, 0, settings.ranks, settings.rank_timeout_s)
        log.info("ranks met size=%d", settings.ranks)

    def served(self) -> set[str]:
        """The ids of the models that all other ranks could load. Raises RankLost."""
        try:
            answers = [actor.served.remote().future().result() for actor in self._actors]
        except RayError as error:
            raise RankLost("a rank died while it loaded its models") from error
        return set.intersection(*map(set, answers))

    def check_health(self) -> None:
        """Raises RankLost if the ranks cannot make another video together."""
        if self._lost is None:
            dead = [rank for rank, life in enumerate(self._lives, 1) if life.done()]
            if dead:
                self._lost = f"the processes of ranks {dead} died"
        if self._lost is not None:
            raise RankLost(self._lost)

    def generate(
        self,
        model: LoadedModel,
        resolved: ResolvedRecipe,
        *,
        stored: StoredAttention | None = None,
        capture: Capture | None = None,
        on_step: OnStep | None = None,
    ) -> Generated:
        """``generate`` on all ranks: what that gives and raises, or RankLost, MemoryError."""
        check_fits(model, resolved, capture)
        task = RankTask(
            model.card.id,
            resolved,
            stored.plan if stored else None,
            capture.plan if capture else None,
            dict(model.pictures),
        )
        self.check_health()
        running: list[Future[None]] = [
            actor.perform.remote(task).future() for actor in self._actors
        ]
        self.group.stopped = False
        source = stored.source if stored else None
        sink = capture.sink if capture else None
        try:
            made = generate_context_parallel(model, task, source=source, sink=sink, on_step=on_step)
        except BaseException as error:
            if self.group.stopped:
                self._wait(running)
                raise
            self._give_up(error)
            raise
        self._wait(running)
        return made

    def _wait(self, running: list[Future[None]]) -> None:
        """Until the others have ended the run too: the next one finds them ready.

        If they do not, this run is whole nevertheless: rank 0 has ended it.
        """
        done, late = wait(running, self._timeout_s)
        failed = [future for future in done if future.exception() is not None]
        if failed or late:
            self._end_others(f"{len(failed)} failed, {len(late)} did not end the run")

    def _give_up(self, error: BaseException) -> None:
        """Rank 0 failed, or waited in vain for another. Raises what that one's failure says."""
        reason = self.group.failure_reason()
        self._end_others(reason or type(error).__name__)
        if reason == _OUT_OF_MEMORY:
            raise MemoryError("a rank ran out of memory") from error
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise RankLost(self._lost) from error

    def _end_others(self, why: str) -> None:
        """They are out of step, and may wait for ever."""
        self._lost = f"the ranks are out of step: {why}"
        log.error("%s", self._lost)
        for actor in self._actors:
            ray.kill(actor)


def _start(
    settings: WorkerSettings, placement: PlacementGroup, rank: int, port: int
) -> ActorHandle[Rank]:
    options = {
        "num_cpus": settings.num_cpus,
        "num_gpus": settings.num_gpus,
        "max_concurrency": 2,  # ``live`` takes one
        "scheduling_strategy": PlacementGroupSchedulingStrategy(
            placement_group=placement, placement_group_bundle_index=rank
        ),
    }
    actor = ray.remote(Rank).options(**options).remote(settings, rank, port)
    return cast("ActorHandle[Rank]", actor)
