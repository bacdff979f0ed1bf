"""Commands for operators, on a real Redis."""

import asyncio

from typer.testing import CliRunner

from retake.cli import app
from storage.connect import open_redis
from storage.jobs.maintenance import Maintenance
from storage.settings import StorageSettings


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_models_queue_is_paused_and_resumed(valkey_url: str) -> None:
    redis_url = ("--redis-url", valkey_url)

    async def paused() -> list[str]:
        redis = open_redis(StorageSettings(redis_url=valkey_url, object_url="file:///unused"))
        found = list(await Maintenance(redis).list_paused())
        await redis.aclose()
        return found

    assert "is paused" in run("queue", "pause", "some/model", *redis_url)
    assert asyncio.run(paused()) == ["some/model"]
    shown = run("queue", "show", *redis_url)
    assert "paused: some/model" in shown
    assert "normal: " in shown
    run("queue", "resume", "some/model", *redis_url)
    assert asyncio.run(paused()) == []
    assert "paused: none" in run("queue", "show", *redis_url)
