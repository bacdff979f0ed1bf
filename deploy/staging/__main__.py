"""``scripts/staging up|status|test|down``: the stack of docker-compose.yml as processes here."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.staging.compose import ROOT
from deploy.staging.parts import missing
from deploy.staging.stack import Stack, StackError
from deploy.staging.stage import Stage

FOLDER = ROOT / "runs" / "staging"


def up(folder: Path) -> int:
    if Stage.load(folder) is not None:
        print(f"staging: {folder} is up already", file=sys.stderr)
        return 1
    if absent := missing():
        packages = " ".join(sorted(set(absent.values())))
        print(f"staging: {', '.join(absent)} missing: apt-get install {packages}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    stack = Stack(Stage.make(folder))
    try:
        stack.up()
    except BaseException as error:
        stack.down()
        if not isinstance(error, StackError):
            raise
        print(f"staging: {error}", file=sys.stderr)
        return 1
    stage = stack.stage
    print(f"API         {stage.url}/v1, trusting {stage.ca}")
    print(f"key         {stage.key}")
    print(f"Prometheus  http://{stage.address('prometheus')}")
    print(f"logs        {stage.folder / 'logs'}")
    return 0


def status(folder: Path) -> int:
    stage = Stage.load(folder)
    if stage is None:
        print("staging: down")
        return 1
    stack = Stack(stage)
    found = stack.status()
    for part, count in found.items():
        print(f"{part:12} {f'{count} processes' if count else 'ended by itself'}")
    ready = stack.answers("/readyz")
    print(f"{'API':12} {'ready' if ready else 'not ready'} at {stage.url}")
    return 0 if ready and all(found.values()) else 1


def down(folder: Path) -> int:
    stage = Stage.load(folder)
    if stage is None:
        print("staging: down")
        return 0
    killed = Stack(stage).down()
    for part in killed:
        print(f"staging: {part} did not end by itself: killed", file=sys.stderr)
    return 1 if killed else 0


def test(folder: Path) -> int:
    """The checks of a standing stack, on the one that stands or on one of its own."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "tests/deploy/test_staging.py"]
    return subprocess.run(command, cwd=ROOT).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up", "status", "test", "down"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="state and logs")
    chosen = parser.parse_args()
    commands = {"up": up, "status": status, "test": test, "down": down}
    return commands[chosen.command](chosen.folder.resolve())


if __name__ == "__main__":
    sys.exit(main())
