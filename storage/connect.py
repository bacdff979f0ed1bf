"""Opens the two stores that the settings name. Nothing connects before its first use."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError

from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings

BLOCK_MS_MAX = 20_000  # the longest a command may block: below the socket's time-out
_SOCKET_TIMEOUT_S = 30.0
# 16 tries, at most 2 s apart: about 20 s, enough for a restart or a failover
_RETRIES = 16
# Further commands wait for a connection; by default the client fails the 101st at once
_CONNECTIONS = 64


def open_redis(settings: StorageSettings) -> Redis:
    """A client that returns bytes and tries again, with backoff, when the connection is lost.

    A command may therefore run twice; every script of this package allows that.
    """
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=_CONNECTIONS,
        timeout=_SOCKET_TIMEOUT_S,
        decode_responses=False,
        protocol=2,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=5.0,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), _RETRIES),
        retry_on_error=[BusyLoadingError],
    )
    return Redis.from_pool(pool)


def open_objects(settings: StorageSettings) -> ObjectStore:
    """The folder or bucket that ``settings.object_url`` names."""
    parts = urlsplit(settings.object_url)
    if parts.scheme == "file":
        from storage.objects.folder import FolderStore

        return FolderStore(Path(unquote(parts.path)))
    from storage.objects.s3 import S3Store  # boto3 takes 0.3 s to import: only where it is used

    return S3Store(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.public_endpoint_url,
        region=settings.s3_region,
    )
