"""`retake keys` and `queue`: on a real Redis, and in the folder of a stack that does not run."""

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retake.admin import make_first_key
from retake.cli import app
from retake.stack import Stack, StackError
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.maintenance import Maintenance
from storage.settings import StorageSettings


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.output


def test_keys_of_a_stack_that_does_not_run(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    secret = run("keys", "create", "--project", "alpha", "--data", data).strip()
    assert re.fullmatch(r"rtk_\S{40,}", secret)
    listed = run("keys", "list", "--data", data)
    assert "alpha" in listed
    (key_id,) = re.findall(r"key_[0-9a-f]{16}", listed)
    run("keys", "revoke", key_id, "--data", data)
    assert "alpha" not in run("keys", "list", "--data", data)
    assert "id" in run("jobs", "dead", "--data", data)


def test_keys_beside_a_running_stack(tmp_path: Path) -> None:
    checked = []

    def while_it_runs(redis_url: str) -> None:
        secret = run("keys", "create", "--project", "alpha", "--data", str(tmp_path)).strip()
        checked.append(secret)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Stack(tmp_path, before_api=while_it_runs).start()
    assert checked[0].startswith("rtk_")
    assert "alpha" in run("keys", "list", "--data", str(tmp_path))


def test_a_folder_without_a_stack_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", "list", "--data", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "no stack's data" in done.output


def test_the_first_key_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedValkey() as valkey:
        url = valkey.start(tmp_path / "valkey")
        with pytest.raises(StackError, match="--create-key"):
            make_first_key(url, tmp_path, None)
        make_first_key(url, tmp_path, True)
        assert len(re.findall(r"rtk_\S{40,}", capsys.readouterr().out)) == 1
        make_first_key(url, tmp_path, True)
        assert capsys.readouterr().out == "", "there is one"


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
