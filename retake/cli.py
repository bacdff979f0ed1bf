"""The `retake` command: the embedded stack, and a client of any running server."""

import logging
import os
import select
import signal
import sys
import threading
import webbrowser
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retake import admin, commands
from retake.analyse import analyse
from retake.client import ApiError
from retake.demo import run_demo
from retake.models import models
from retake.stack import Stack, StackError
from schemas.errors import RetakeError
from storage.keys import needs_keys

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(admin.keys, name="keys")
app.add_typer(admin.jobs, name="jobs")
app.add_typer(admin.queue, name="queue")
commands.add_to(app)
app.add_typer(models, name="models")
app.command()(analyse)
console = Console()

DATA = Path("retake-data")
PID_FILE = "serve.pid"
Data = Annotated[Path, typer.Option(help="Folder of all state.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"retake {version('retake')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Keep the shot, change the subject: the embedded stack, and a client of any server."""


@app.command()
def serve(
    data: Data = DATA,
    host: str = "127.0.0.1",
    port: int = 8000,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="RETAKE_REDIS_URL", help="A Redis of your own. Unset: an embedded one."
        ),
    ] = None,
    object_url: Annotated[
        str | None,
        typer.Option(
            envvar="RETAKE_OBJECT_URL",
            help="Your own object store, as in s3://bucket/prefix. Unset: a folder in --data.",
        ),
    ] = None,
    create_key: Annotated[
        bool | None,
        typer.Option(help="Make the first API key where keys are needed and there is none."),
    ] = None,
    open_studio: Annotated[bool, typer.Option("--open", help="Open Studio in a browser.")] = False,
) -> None:
    """Keep the embedded stack up until SIGINT or SIGTERM; running jobs are finished or kept."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())

    def before_api(redis: str) -> None:
        if needs_keys(os.environ.get("RETAKE_AUTH"), host):
            admin.make_first_key(redis, data, create_key)

    stack = Stack(
        data,
        host=host,
        port=port,
        redis_url=redis_url,
        object_url=object_url,
        before_api=before_api,
        say=lambda text: console.print(text, highlight=False),
    )
    with stack:
        (stack.data / PID_FILE).write_text(str(os.getpid()))
        with console.status("Starting"):
            stack.wait_ready()
        console.print(f"Retake is up on {stack.base_url}; state is in {stack.data}")
        console.print(f"Studio: {stack.studio_url}")
        if open_studio:
            webbrowser.open(stack.studio_url)
        while not stopping.wait(1.0):
            stack.check()
        console.print("Stopping: running jobs are finished first")


@app.command()
def drain(data: Data = DATA) -> None:
    """Stop the stack on DATA: no new job starts, running ones are finished or handed back."""
    try:
        pid = int((data / PID_FILE).read_text())
        # after a crash the number may be another process's
        ours = b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise typer.BadParameter(f"no stack runs on {data}")
    process = os.pidfd_open(pid)
    signal.pidfd_send_signal(process, signal.SIGTERM)
    with console.status("Draining"):
        select.select([process], [], [])  # readable once it has ended
    console.print("stopped")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the films.")] = Path(
        "runs/demo"
    ),
    seed: int = 1,
) -> None:
    """A film, the same seed with another prompt, and the edit that keeps the shot."""
    run_demo(out, seed, console)


def main() -> None:
    """Entry point: errors of ours are one sentence and status 1, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (ApiError, StackError, RetakeError) as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, a disk that is full
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        Console(stderr=True).print(text, style="red", highlight=False, markup=False)
        sys.exit(1)
