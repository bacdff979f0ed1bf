"""Runs the scripts of ``storage/scripts``: each one atomic, each one file."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

Argument = str | int | bytes
# Put before a script, after the prelude, where two share more than that
_SHARED: Mapping[str, str] = {"read": "deliveries", "reclaim": "deliveries"}


@cache
def source(name: str) -> str:
    """The text that is loaded for script ``name``: prelude, what it shares, itself."""
    folder = Path(__file__).parent / "scripts"
    parts = ["prelude", _SHARED[name], name] if name in _SHARED else ["prelude", name]
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)


class Scripts:
    """The scripts on one Redis under one key prefix; loaded when first run, and again after a
    restart lost them (redis-py answers NOSCRIPT so)."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        self._loaded: dict[str, AsyncScript] = {}

    async def run(self, name: str, *arguments: Argument) -> Any:
        """The script's reply: ints, bytes and lists of them, as its first lines say."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        return await script(args=[self._prefix, *arguments])
