"""A local Ray that runs the workers on this machine: started, drained, stopped.

Nothing is taken from or left in the user's home, nothing is reported to anyone, and every Ray
port asks for a token that only this process and its children know: Ray listens on all interfaces,
whatever address it is told.
"""

import logging
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from storage.embedded.process_folders import make_folder, remove_left_behind
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.deployment import OpenEngine

log = logging.getLogger("retake.local")

_ENDING_S = 10.0  # of a drain: a job's last step, then Ray's own end (4 s on two busy cores)
_OBJECT_STORE_BYTES = 80 << 20  # Ray's least; job calls carry ids only
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # a hung replica is killed rather than drained: 15 s instead of 75
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # torch's threads sleep while they wait for one another: spinning, two of them took five times
    # as long on two cores that had other work too
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
}


class LocalWorkers:
    """Ray, Serve and the workers as children of this process. Use as a context manager.

    ``folder``: where Ray keeps its sockets and logs while it runs.

    ``open_engine``: what the workers run jobs with; unset, diffusers pipelines.
    """

    def __init__(self, settings: WorkerSettings, open_engine: "OpenEngine | None" = None) -> None:
        self._settings, self._open_engine = settings, open_engine
        self.folder: Path | None = None

    def start(self) -> None:
        """Returns when the workers have loaded their models; raises RuntimeError if they cannot."""
        prepare_environment()
        import ray
        from ray import serve
        from ray.serve.schema import LoggingConfig

        from workers.deployment import APP, build, open_pipelines

        remove_left_behind()
        self.folder = make_folder()
        settings = self._settings
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        try:
            ray.init(
                address="local",
                namespace=APP,
                num_cpus=max(
                    1, round(settings.num_cpus * settings.most_replicas * settings.ranks + 0.5)
                ),
                num_gpus=None if settings.num_gpus else 0,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(self.folder),
            )
            serve.start(
                proxy_location="Disabled", logging_config=LoggingConfig(log_level="WARNING")
            )
            serve.run(
                build(settings, self._open_engine or open_pipelines),
                name=APP,
                route_prefix=None,
                # its warnings are of calls that wait for a worker, which is what a queue is
                logging_config=LoggingConfig(log_level="ERROR", enable_access_log=False),
            )
        except BaseException:
            self.stop()
            raise
        log.info("workers ready replicas=%d", settings.replicas)

    def drain(self, timeout_s: float) -> None:
        """Let running jobs end, then hand the rest back to the queue, so that ``stop`` is done
        within ``timeout_s``.

        Its last 10 s, at most half of it, are for that. Only a step that is longer than they are
        makes it last longer, by up to a minute.
        """
        from ray import serve

        from workers.deployment import APP

        dispatcher = serve.get_deployment_handle("Dispatcher", APP)
        running_s = timeout_s - min(timeout_s / 2, _ENDING_S)
        dispatcher.broadcast("drain", running_s).results(timeout_s=timeout_s + 90)

    def stop(self) -> None:
        """End every process that ``start`` began. Running jobs are taken up again elsewhere."""
        import ray

        ray.shutdown()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def prepare_environment() -> None:
    """Set what Ray reads when it is first imported; again is no error."""
    os.environ.update(_ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
