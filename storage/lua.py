"""Runs the Lua scripts in ``storage/scripts``. Each file is one atomic operation."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

Argument = str | int | bytes
# What goes between the prelude and a script, where two scripts share more than the prelude
_SHARED: Mapping[str, str] = {
    "read": "deliveries",
    "reclaim": "deliveries",
    "look": "positions",
    "position": "positions",
}


@cache
def source(name: str) -> str:
    """The text that is loaded for script ``name``: the prelude, what it shares, the script."""
    folder = Path(__file__).parent / "scripts"
    names = ["prelude", _SHARED[name], name] if name in _SHARED else ["prelude", name]
    return "\n".join((folder / f"{each}.lua").read_text("utf-8") for each in names)


class Scripts:
    """The scripts on one Redis, under one key prefix. redis-py loads a script when it is first
    run, and again when Redis answers NOSCRIPT, as it does after a restart."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        self._loaded: dict[str, AsyncScript] = {}

    async def run(self, name: str, *arguments: Argument) -> Any:
        """The script's reply: ints, bytes and lists of them, as the comment at its top says."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        return await script(args=[self._prefix, *arguments])
