"""Logs of the processes that Ray starts."""

import logging

from workers.settings import WorkerSettings


def start_logging(settings: WorkerSettings) -> None:
    """One line per transition on standard error, which Ray collects."""
    logger = logging.getLogger("retake")
    logger.setLevel(settings.log_level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
