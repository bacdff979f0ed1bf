"""The log of one part of the stack, and what it says of why the part ended."""

import json
from pathlib import Path
from typing import BinaryIO

LINES = 3  # of the cause
LINE_CHARS = 300
TAIL_BYTES = 64 << 10
# what servers write behind the cause
CLOSING = ("Application startup failed", "Waiting for application", "Application shutdown")


class PartLog:
    """``path`` grows over many starts; ``cause`` speaks of the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began_at = 0

    def open(self) -> BinaryIO:
        """The file for a new start of the part to append to."""
        output = self.path.open("ab")
        self._began_at = output.tell()
        return output

    def cause(self) -> str:
        """The last lines that say something, without timestamps and stack frames."""
        with self.path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(self._began_at, log.tell() - TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
        said = [line for raw in text.splitlines() for line in _said(raw)]
        said = [line for line in said if line and not line.startswith(CLOSING)]
        return "\n".join(line[:LINE_CHARS] for line in said[-LINES:]) or "it wrote nothing"


def _said(line: str) -> list[str]:
    """What a line of a log says: of one in JSON its message, of a traceback the error alone."""
    try:
        record = json.loads(line)
        text = record.get("exception") or record["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [line.strip()]
    lines = [each for each in str(text).splitlines() if each.strip()]
    if any(each.startswith("Traceback") for each in lines):
        return [lines[-1].strip()]
    return [each.strip() for each in lines]
