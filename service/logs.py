"""Logs as one JSON object a line, with the request and video that they belong to."""

import json
import logging
import sys
import time
from typing import Any

# What `extra=` may add to a line; the other attributes of a record are logging's own
FIELDS = ("request_id", "video_id", "project", "status", "seconds", "event_id", "trace_id")


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", …}``; a traceback, if any, as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str) -> None:
    """Send every logger's lines to stderr as JSON; for entry points only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("botocore", "boto3", "urllib3", "httpcore", "httpx", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
