"""``python -m workers``: a local Ray with the workers, until SIGTERM or SIGINT.

On the first signal the workers are drained: running jobs end, or are handed back to the queue.
"""

import logging
import signal
import sys
import threading

from workers.local import LocalWorkers
from workers.settings import WorkerSettings

log = logging.getLogger("retake.local")


def main() -> int:
    settings = WorkerSettings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    told_to_stop = threading.Event()
    with LocalWorkers(settings) as workers:
        for number in (signal.SIGTERM, signal.SIGINT):
            # in place of Ray's own handler, which leaves without a drain
            signal.signal(number, lambda *_: told_to_stop.set())
        told_to_stop.wait()
        log.info("draining")
        workers.drain(settings.drain_timeout_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
