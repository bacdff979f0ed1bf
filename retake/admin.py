"""`retake keys`, `jobs` and `queue`: commands for operators, directly on Redis.

They work while the API is down, and need no key: whoever can write to Redis controls the service.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from storage.connect import open_redis
from storage.jobs.maintenance import Maintenance
from storage.keys import PROJECT_SCOPES, SCOPES, ApiKey, KeyStore
from storage.settings import StorageSettings

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
jobs = typer.Typer(no_args_is_help=True, help="Dead-lettered jobs: show them, queue them again.")
queue = typer.Typer(no_args_is_help=True, help="What waits; pause and resume a model's jobs.")
console = Console()

RedisUrl = Annotated[
    str | None,
    typer.Option(
        envvar="RETAKE_REDIS_URL",
        help="The service's Redis; unset: the embedded one of ./retake-data.",
    ),
]
T = TypeVar("T")


@keys.command()
def create(
    project: Annotated[str, typer.Option(help="The project that the key belongs to.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(SCOPES)}.")] = None,
    name: str = "",
    ttl_s: Annotated[int | None, typer.Option(min=1, help="Seconds until it expires.")] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar="RETAKE_KEY_SECRET",
            help="A secret of your own, rtk_ and 40 characters or more; given again it makes no "
            "second key. Unset: one is drawn.",
        ),
    ] = None,
    redis_url: RedisUrl = None,
) -> None:
    """Print a new key. It is shown once: only its hash is kept."""
    chosen = [each for each in SCOPES if each in (scope or PROJECT_SCOPES)]
    unknown = set(scope or ()) - set(SCOPES)
    if unknown:
        raise typer.BadParameter(f"scope {min(unknown)!r}; allowed are {', '.join(SCOPES)}")

    async def make(redis: Redis) -> tuple[ApiKey, str]:
        return await KeyStore(redis).create(project, chosen, name=name, ttl_s=ttl_s, secret=secret)

    try:
        key, drawn = _with_redis(redis_url, make)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    print(drawn if secret is None else key.id)  # a log is no place for what its owner has


@keys.command(name="list")
def list_keys(redis_url: RedisUrl = None) -> None:
    """The keys that work."""
    table = Table("id", "project", "scopes", "name", "ends in", "made")
    for key in _with_redis(redis_url, lambda redis: KeyStore(redis).list()):
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(key.id, key.project, ",".join(key.scopes), key.name, key.hint, made)
    console.print(table)


@keys.command()
def revoke(key_id: str, redis_url: RedisUrl = None) -> None:
    """Make a key worthless, within seconds."""
    if not _with_redis(redis_url, lambda redis: KeyStore(redis).revoke(key_id)):
        raise typer.BadParameter(f"there is no key {key_id!r}")
    console.print(f"revoked {key_id}")


@jobs.command()
def dead(limit: int = 100, redis_url: RedisUrl = None) -> None:
    """Jobs that ran out of attempts, newest first, and why."""
    table = Table("id", "at", "code", "message")
    for letter in _with_redis(redis_url, lambda redis: Maintenance(redis).list_dead(limit)):
        at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(letter.video_id, at, letter.error.code, letter.error.message)
    console.print(table)


@jobs.command()
def retry(video_id: str, redis_url: RedisUrl = None) -> None:
    """Queue a failed job again, with all its attempts."""
    job = _with_redis(redis_url, lambda redis: Maintenance(redis).retry(video_id))
    console.print(f"{job.spec.id} is {job.state.status}")


@queue.command()
def show(redis_url: RedisUrl = None) -> None:
    """How many jobs wait, by priority, and which models are paused."""
    for priority, depth in _with_redis(redis_url, lambda r: Maintenance(r).queue_depths()).items():
        console.print(f"{priority}: {depth}")
    paused = _with_redis(redis_url, lambda redis: Maintenance(redis).list_paused())
    console.print(f"paused: {', '.join(paused) or 'none'}")


@queue.command()
def pause(model: str, redis_url: RedisUrl = None) -> None:
    """Start no more jobs of MODEL; those that run go on, new ones are accepted and wait."""
    _with_redis(redis_url, lambda redis: Maintenance(redis).pause(model))
    console.print(f"{model} is paused")


@queue.command()
def resume(model: str, redis_url: RedisUrl = None) -> None:
    """Start jobs of MODEL again."""
    _with_redis(redis_url, lambda redis: Maintenance(redis).resume(model))
    console.print(f"{model} is not paused")


def _with_redis(url: str | None, call: Callable[[Redis], Awaitable[T]]) -> T:
    socket = Path("retake-data/valkey/valkey.sock").absolute()
    if url is None and not socket.exists():
        raise typer.BadParameter("no ./retake-data here: name the Redis by --redis-url")
    try:
        settings = StorageSettings(redis_url=url or f"unix://{socket}", object_url="file:///")
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None

    async def run() -> T:
        async with aclosing(open_redis(settings)) as redis:
            return await call(redis)

    return asyncio.run(run())
