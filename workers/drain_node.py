"""``python -m workers.drain_node``: let a Ray node end its jobs before it is taken away.

What a container runs before it is stopped: Serve gives the node's replicas no further job, the
running one ends, replacements start elsewhere if there is room. Ray itself would end all at once.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from ray.util import get_node_ip_address
from ray.util.state import list_actors, list_nodes

from workers.deployment import APP, STOP_S
from workers.settings import WorkerSettings

_LOOK_S = 1.0
_WORKER = f"ServeReplica:{APP}:VideoWorker"
Filters = list[tuple[str, str, str | bool | int | float]]


def this_node(address: str) -> str:
    """The id of the living node at this machine's address. RuntimeError: none, or several."""
    address_here = get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray's
    here: Filters = [("node_ip", "=", address_here), ("state", "=", "ALIVE")]
    found = list_nodes(address=address, filters=here)
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} Ray nodes live at this address: name one by --node-id")
    return found[0].node_id


def drain(address: str, node: str, timeout_s: float) -> bool:
    """Drain the node, wait until no VideoWorker is left on it; False: time was up.

    ``address``: the GCS, ``host:port``. A replica is stopped gracefully at once where its node's
    deadline is no later than its own time to stop, which ``timeout_s`` is. Dispatchers are not
    waited for: jobs elsewhere go on without theirs, and another one takes the entries over.
    """
    deadline = time.monotonic() + timeout_s
    subprocess.run(
        [Path(sys.executable).parent / "ray", "drain-node", f"--address={address}",
         f"--node-id={node}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
         "--reason-message=it is being stopped",
         f"--deadline-remaining-seconds={math.ceil(timeout_s)}"],
        check=True,
    )  # fmt: skip
    left: Filters = [("node_id", "=", node), ("class_name", "=", _WORKER), ("state", "=", "ALIVE")]
    while time.monotonic() < deadline:
        if not list_actors(address=address, filters=left):
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
    node = chosen.node_id or this_node(chosen.address)
    # as the application's replicas have it: at that deadline Serve stops them at once
    return 0 if drain(chosen.address, node, WorkerSettings().longest_job_s + STOP_S) else 1


if __name__ == "__main__":
    sys.exit(main())
