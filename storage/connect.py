"""Opens the two stores that the settings name. Nothing connects before its first use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings

BLOCK_MS_MAX = 5_000  # the longest a command may block: below the socket's time-out
_SOCKET_TIMEOUT_S = 10.0
_BLOCKING = ("XREAD", "XREADGROUP")
# 16 tries, at most 2 s apart: about 20 s, enough for a restart or a failover
_RETRIES = 16
# Further commands wait for a connection; by default the client fails the 101st at once
_CONNECTIONS = 64


class BoundedRedis(Redis):
    """A client whose calls end within ``total_s``, whatever the server does: tries and the pauses
    between them, new connections and the wait for one included.

    A server that is stopped accepts connections and never answers: each try costs the socket's
    time-out, and the tries add up to minutes. Raises ``redis.exceptions.TimeoutError``.
    """

    total_s: float = 20.0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        blocks_s = BLOCK_MS_MAX / 1000 if args[0] in _BLOCKING else 0.0
        async with _within(self.total_s + blocks_s):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        pipe = _BoundedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipe.total_s = self.total_s
        return pipe


class _BoundedPipeline(Pipeline):
    total_s: float = 20.0

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with _within(self.total_s):
            return await super().execute(raise_on_error)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise RedisTimeoutError(f"no answer within {seconds:g} s") from error


def open_redis(settings: StorageSettings) -> Redis:
    """A client that returns bytes and tries again, with backoff, when the connection is lost.

    A command may therefore run twice; every script of this package allows that. A call fails at
    the latest after ``settings.redis_timeout_s``.
    """
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=_CONNECTIONS,
        timeout=settings.redis_timeout_s,
        decode_responses=False,
        protocol=2,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=5.0,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), _RETRIES),
        retry_on_error=[BusyLoadingError],
    )
    redis = BoundedRedis.from_pool(pool)
    assert isinstance(redis, BoundedRedis)
    redis.total_s = settings.redis_timeout_s
    return redis


def open_objects(settings: StorageSettings) -> ObjectStore:
    """The folder or bucket that ``settings.object_url`` names."""
    parts = urlsplit(settings.object_url)
    if parts.scheme == "file":
        from storage.objects.folder import FolderStore

        return FolderStore(Path(unquote(parts.path)), min_free_bytes=settings.min_free_bytes)
    from storage.objects.s3 import S3Store  # boto3 takes 0.3 s to import: only where it is used

    return S3Store(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.public_endpoint_url,
        region=settings.s3_region,
    )
