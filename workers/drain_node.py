"""``python -m workers.drain_node``: let a Ray node end its jobs before it is taken away.

What a container runs before it is stopped: Serve gives the node's replicas no further job, the
running one ends, replacements start elsewhere if there is room. Ray itself would end all at once.
"""

import argparse
import os
import sys
import time

from ray._private.services import get_node_ip_address
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.util.state import list_actors

from workers.deployment import APP, STOP_S
from workers.settings import WorkerSettings

_LOOK_S = 1.0
_WORKER = f"ServeReplica:{APP}:VideoWorker"


def find_node(gcs: GcsClient, node_id: str | None) -> str:
    """The id, in hex, of the living node that is meant; unset, the one of this machine's address.

    RuntimeError: there is none, or more than one.
    """
    alive = [
        node
        for node in gcs.get_all_node_info().values()
        if node.state == gcs_pb2.GcsNodeInfo.GcsNodeState.ALIVE
    ]
    if node_id is None:
        address = get_node_ip_address()
        found = [node.node_id.hex() for node in alive if node.node_manager_address == address]
    else:
        found = [node.node_id.hex() for node in alive if node.node_id.hex() == node_id]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} living nodes are meant by {node_id or 'this address'}")
    return found[0]


def drain(address: str, node_id: str | None, timeout_s: float) -> bool:
    """Drain the node, wait until no VideoWorker is left on it; False: time was up.

    ``address``: the GCS, ``host:port``. A replica is stopped gracefully at once where its node's
    deadline is no later than its own time to stop, which ``timeout_s`` is. Dispatchers are not
    waited for: jobs elsewhere go on without theirs, and another one takes the entries over.
    """
    gcs = GcsClient(address=address)
    node = find_node(gcs, node_id)
    deadline = time.monotonic() + timeout_s
    accepted, reason = gcs.drain_node(
        node,
        autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        "the node is being stopped",
        int(1000 * (time.time() + timeout_s)),
    )
    if not accepted:
        raise RuntimeError(f"the node refuses to drain: {reason}")
    ours = [("node_id", "=", node), ("class_name", "=", _WORKER), ("state", "=", "ALIVE")]
    while time.monotonic() < deadline:
        if not list_actors(address=address, filters=ours):
            return True
        time.sleep(_LOOK_S)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS"))
    parser.add_argument("--node-id", help="where several nodes share this machine")
    chosen = parser.parse_args()
    if not chosen.address:
        parser.error("--address or RAY_ADDRESS names the GCS, host:port")
    drained = drain(chosen.address, chosen.node_id, WorkerSettings().longest_job_s + STOP_S)
    return 0 if drained else 1


if __name__ == "__main__":
    sys.exit(main())
