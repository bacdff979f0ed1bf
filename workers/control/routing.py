"""Which replica gets a job: one that holds the source's tensors, else the model, else the idlest.

Ray Serve runs the router inside the process that holds the handle: here a Dispatcher's. It gets
there pickled by value, this module's globals with it, so whatever is shared lies in others.
"""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from workers.control import (
    routing_request,  # a module goes by name: its ``replica_count`` is the Dispatcher's
)

ROUTER = "workers.control.routing:SourceRouter"
_NOTES = 4096  # sources whose last replica is remembered
_RECHECK_S = 0.2  # a replica may also be freed by another dispatcher, which nobody tells us


class SourceRouter(RequestRouter):
    """Ranks replicas by what they report (``record_routing_stats``) and by what went there last.

    Within a rank Serve takes the least loaded; full replicas are passed over.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # Serve's, passed through
        self._sent: OrderedDict[str, ReplicaID] = OrderedDict()
        self._tried: set[str] = set()
        self._freed = asyncio.Event()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        routing_request.replica_count.replicas = len(replicas)
        self._freed.set()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas in ranks, best first. Later calls for one request wait for a free one."""
        if pending_request is None or not isinstance(
            pending_request.args[0], routing_request.RoutingRequest
        ):
            return [candidate_replicas]
        request_id = pending_request.metadata.internal_request_id
        if request_id in self._tried:
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _RECHECK_S)
        self._tried.add(request_id)
        ranks: list[list[RunningReplica]] = [[], [], []]
        for replica in self.curr_replicas.values():
            ranks[self._rank(replica, pending_request.args[0])].append(replica)
        return [rank for rank in ranks if rank]

    def _rank(self, replica: RunningReplica, request: routing_request.RoutingRequest) -> int:
        stats = replica.routing_stats
        if request.source_key is not None and (
            request.source_key in stats.get("sources", ())
            or self._sent.get(request.source_key) == replica.replica_id
        ):
            return 0
        return 1 if request.model in stats.get("models", ()) else 2

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        self._tried.discard(pending_request.metadata.internal_request_id)
        request = pending_request.args[0]
        if isinstance(request, routing_request.RoutingRequest) and request.source_key is not None:
            # known here before the replica's next report
            self._sent[request.source_key] = replica_id
            self._sent.move_to_end(request.source_key)
            while len(self._sent) > _NOTES:
                self._sent.popitem(last=False)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        self._tried.discard(internal_request_id)
        self._event_loop.call_soon_threadsafe(self._freed.set)
