"""What a Dispatcher and its process's router share."""

from typing import NamedTuple


class RoutingRequest(NamedTuple):
    """A job as the router sees it: the one argument of the handle call.

    ``source_key``: the source whose tensors an edit reads; its replica then holds them.
    """

    video_id: str
    model: str
    source_key: str | None


class ReplicaCount:
    """How many VideoWorkers the router of this process knows: what the Dispatcher counts on."""

    def __init__(self) -> None:
        self.replicas = 0


replica_count = ReplicaCount()  # Serve makes the router: nothing else could hand it over
