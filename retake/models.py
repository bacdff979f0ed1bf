"""`retake models`: what a server can make, and what a model does on this machine.

The tools load torch, which this package does not: they run in a process of their own.
"""

import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console

from retake.client import Client

models = typer.Typer(help="What a server can make; a model tried on this machine.")
console = Console()

# what follows is passed on as it is
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="RETAKE_URL", help="The server's /v1 address.")
    ] = "http://127.0.0.1:8000/v1",
    api_key: Annotated[
        str | None, typer.Option(envvar="RETAKE_API_KEY", help="A bearer key.")
    ] = None,
) -> None:
    """Without a command: what the server can make."""
    if context.invoked_subcommand is None:
        with Client(url, api_key) as client:
            console.print_json(data=client.models())


@models.command(context_settings=PASSED_ON, add_help_option=False)
def check(context: typer.Context) -> None:
    """Load MODEL, make a video, put its own maps back, edit it; exit 1 if anything is wrong."""
    _run("workers.check", context.args)


@models.command(context_settings=PASSED_ON, add_help_option=False)
def sweep(context: typer.Context) -> None:
    """Which layers, steps and scale carry the shot on MODEL, by the edits in --prompts FILE."""
    _run("workers.check.sweep_main", context.args)


def _run(module: str, arguments: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    raise typer.Exit(ran.returncode)
