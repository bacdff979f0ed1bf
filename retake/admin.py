"""`retake keys`, `jobs` and `queue`: commands for operators, directly on Redis.

They work while the API or the whole embedded stack is down, and need no key: whoever can write to
Redis controls the service.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console

from retake.stack import REDIS_URL, STACK_LOCK, StackError
from retake.tables import id_table
from storage.connect import open_redis
from storage.embedded import watchdog
from storage.embedded.valkey import EmbeddedValkey
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
        envvar="RETAKE_REDIS_URL", help="The service's Redis; unset: the embedded one of --data."
    ),
]
Data = Annotated[Path, typer.Option(help="Folder of an embedded stack's state.")]
DATA = Path("retake-data")
T = TypeVar("T")


class Stores(NamedTuple):
    """What the commands work on."""

    keys: KeyStore
    jobs: Maintenance


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
    data: Data = DATA,
    redis_url: RedisUrl = None,
) -> None:
    """Print a new key. It is shown once: only its hash is kept."""
    chosen = [each for each in SCOPES if each in (scope or PROJECT_SCOPES)]
    unknown = set(scope or ()) - set(SCOPES)
    if unknown:
        raise typer.BadParameter(f"scope {min(unknown)!r}; allowed are {', '.join(SCOPES)}")

    async def make(stores: Stores) -> tuple[ApiKey, str]:
        return await stores.keys.create(project, chosen, name=name, ttl_s=ttl_s, secret=secret)

    if redis_url is None:
        (data / "valkey").mkdir(parents=True, exist_ok=True)  # before the stack's first start
    try:
        key, drawn = _with_redis(redis_url, data, make)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    print(drawn if secret is None else key.id)  # a log is no place for what its owner has


@keys.command(name="list")
def list_keys(data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """The keys that work."""
    table = id_table(20, "project", "scopes", "name", "ends in", "made")
    for key in _with_redis(redis_url, data, lambda stores: stores.keys.list()):
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(key.id, key.project, ",".join(key.scopes), key.name, key.hint, made)
    console.print(table)


@keys.command()
def revoke(key_id: str, data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """Make a key worthless, within seconds."""
    if not _with_redis(redis_url, data, lambda stores: stores.keys.revoke(key_id)):
        raise typer.BadParameter(f"there is no key {key_id!r}")
    console.print(f"revoked {key_id}")


@jobs.command()
def dead(limit: int = 100, data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """Jobs that ran out of attempts, newest first, and why."""
    table = id_table(34, "at", "code", "message")
    for letter in _with_redis(redis_url, data, lambda stores: stores.jobs.list_dead(limit)):
        at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(letter.video_id, at, letter.error.code, letter.error.message)
    console.print(table)


@jobs.command()
def retry(video_id: str, data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """Queue a failed job again, with all its attempts."""
    job = _with_redis(redis_url, data, lambda stores: stores.jobs.retry(video_id))
    console.print(f"{job.spec.id} is {job.state.status}")


@queue.command()
def show(data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """How many jobs wait, by priority, and which models are paused."""
    depths = _with_redis(redis_url, data, lambda stores: stores.jobs.queue_depths())
    for priority, depth in depths.items():
        console.print(f"{priority}: {depth}")
    paused = _with_redis(redis_url, data, lambda stores: stores.jobs.list_paused())
    console.print(f"paused: {', '.join(paused) or 'none'}")


@queue.command()
def pause(model: str, data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """Start no more jobs of MODEL; those that run go on, new ones are accepted and wait."""
    _with_redis(redis_url, data, lambda stores: stores.jobs.pause(model))
    console.print(f"{model} is paused")


@queue.command()
def resume(model: str, data: Data = DATA, redis_url: RedisUrl = None) -> None:
    """Start jobs of MODEL again."""
    _with_redis(redis_url, data, lambda stores: stores.jobs.resume(model))
    console.print(f"{model} is not paused")


def make_first_key(redis_url: str, data: Path, wanted: bool | None) -> None:
    """Where no key exists yet, make one and print it, this once; raises StackError if not wanted.

    ``wanted`` None: a person at a terminal is asked.
    """
    if _call(redis_url, lambda stores: stores.keys.list()):
        return
    if wanted is None and sys.stdin.isatty():
        wanted = typer.confirm("This server asks for API keys, and none exists. Make one?")
    if not wanted:
        raise StackError(
            "this server asks for API keys, and none exists yet: start it with --create-key, or "
            f"make one with `retake keys create --project NAME --data {data}`"
        )
    _, secret = _call(
        redis_url,
        lambda stores: stores.keys.create("default", name="first"),
    )
    console.print("The first API key, of project 'default'. It is shown this once:")
    print(secret, flush=True)


def _with_redis(url: str | None, data: Path, call: Callable[[Stores], Awaitable[T]]) -> T:
    """``call`` on the service's Redis: the one named, or that of the stack on ``data``, which is
    started for this alone where the stack does not run."""
    if url is not None:
        return _call(url, call)
    if watchdog.is_held(data / STACK_LOCK):
        try:
            return _call((data / REDIS_URL).read_text(), call)
        except FileNotFoundError:
            raise typer.BadParameter(
                f"the stack on {data} has a Redis of your own: name it by --redis-url"
            ) from None
    if not (data / "valkey").is_dir():
        raise typer.BadParameter(
            f"there is no stack's data in {data}: name its folder by --data, or the Redis by "
            "--redis-url"
        )
    return _on_embedded(data, call)


def _on_embedded(data: Path, call: Callable[[Stores], Awaitable[T]]) -> T:
    """``call`` on the Valkey of a stack that does not run; every write is on disk on return."""
    with EmbeddedValkey() as valkey:
        try:
            url = valkey.start(data / "valkey", appendfsync="always")
        except RuntimeError as error:
            raise typer.BadParameter(f"{data}: {error}") from None
        return _call(url, call)


def _call(url: str, call: Callable[[Stores], Awaitable[T]]) -> T:
    try:
        settings = StorageSettings(redis_url=url, object_url="file:///")
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None

    async def run() -> T:
        async with aclosing(open_redis(settings)) as redis:
            prefix = settings.redis_prefix
            return await call(
                Stores(KeyStore(redis, prefix=prefix), Maintenance(redis, prefix=prefix))
            )

    try:
        return asyncio.run(run())
    except RedisError as error:
        raise StackError(f"Redis does not answer ({type(error).__name__})") from None
