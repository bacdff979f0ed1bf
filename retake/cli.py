"""The `retake` command: the embedded stack, and a client of any running server."""

import json
import logging
import os
import select
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from retake import admin
from retake.client import ApiError, Client, Json
from retake.demo import follow, job_progress, run_demo
from retake.stack import Stack, StackError
from schemas.errors import RetakeError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(admin.keys, name="keys")
app.add_typer(admin.jobs, name="jobs")
app.add_typer(admin.queue, name="queue")
console = Console()

Url = Annotated[str, typer.Option(envvar="RETAKE_URL", help="The server's /v1 address.")]
Key = Annotated[str | None, typer.Option(envvar="RETAKE_API_KEY", help="A bearer key.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where the mp4 is written.")]
Transfer = Annotated[str | None, typer.Option(help="A transfer spec as JSON.")]
Data = Annotated[Path, typer.Option(help="Folder of all state.")]
URL = "http://127.0.0.1:8000/v1"
DATA = Path("retake-data")
PID_FILE = "serve.pid"


@app.command()
def serve(
    data: Data = DATA,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_studio: Annotated[bool, typer.Option("--open", help="Open Studio in a browser.")] = False,
) -> None:
    """Keep the embedded stack up until SIGINT or SIGTERM; running jobs are finished or kept."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Stack(data, host=host, port=port) as stack:
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


@app.command()
def generate(
    prompt: str,
    out: Out = None,
    model: str | None = None,
    seed: int | None = None,
    size: str | None = None,
    seconds: str | None = None,
    steps: int | None = None,
    negative_prompt: str | None = None,
    guidance_scale: float | None = None,
    capture: Annotated[bool, typer.Option(help="Keep the attention for later edits.")] = True,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Make a film of PROMPT."""
    body = _drop_none(
        prompt=prompt,
        model=model,
        seed=seed,
        size=size,
        seconds=seconds,
        num_inference_steps=steps,
        negative_prompt=negative_prompt,
        guidance_scale=guidance_scale,
        capture=capture,
    )
    with Client(url, api_key) as client:
        _await(client, client.create(**body), out)


@app.command()
def edit(
    prompt: str,
    video: Annotated[str | None, typer.Option(help="Id of the source.")] = None,
    source_prompt: Annotated[str | None, typer.Option(help="Or its prompt...")] = None,
    source_seed: Annotated[int | None, typer.Option(help="...and its seed.")] = None,
    preset: Annotated[str | None, typer.Option(help="The kind of edit.")] = None,
    interval: Annotated[int | None, typer.Option(help="Steps between computed ones.")] = None,
    scale: Annotated[float | None, typer.Option(help="How much of the change is made.")] = None,
    transfer: Transfer = None,
    out: Out = None,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Make the source again with PROMPT, keeping its shot."""
    if (video is None) == (source_prompt is None or source_seed is None):
        raise typer.BadParameter("give --video, or --source-prompt and --source-seed")
    source = None if video else {"prompt": source_prompt, "seed": source_seed}
    body = _drop_none(prompt=prompt, video=video and {"id": video}, source=source)
    with Client(url, api_key) as client:
        _await(client, client.edit(**body, **_transfer(transfer, preset, interval, scale)), out)


@app.command()
def get(video_id: str, out: Out = None, url: Url = URL, api_key: Key = None) -> None:
    """Print a video's record; with --out, download its film."""
    with Client(url, api_key) as client:
        console.print_json(data=client.get(video_id))
        if out:
            client.download(video_id, out)


@app.command(name="list")
def list_videos(limit: int = 20, url: Url = URL, api_key: Key = None) -> None:
    """The newest videos."""
    with Client(url, api_key) as client:
        table = Table("id", "status", "seed", "prompt")
        for video in client.list(limit=limit)["data"]:
            table.add_row(video["id"], video["status"], str(video["seed"]), video["prompt"])
        console.print(table)


@app.command()
def cancel(video_id: str, url: Url = URL, api_key: Key = None) -> None:
    """Stop a queued or running job."""
    with Client(url, api_key) as client:
        console.print(client.cancel(video_id)["status"])


@app.command()
def delete(video_id: str, url: Url = URL, api_key: Key = None) -> None:
    """Delete a video and everything stored for it."""
    with Client(url, api_key) as client:
        console.print(f"deleted {client.delete(video_id)['id']}")


@app.command()
def models(url: Url = URL, api_key: Key = None) -> None:
    """What this server can make."""
    with Client(url, api_key) as client:
        console.print_json(data=client.models())


def _await(client: Client, video: Json, out: Path | None) -> None:
    with job_progress(console) as progress:
        video = follow(client, video, progress, video["id"])
    path = client.download(video["id"], out or Path(f"{video['id']}.mp4"))
    console.print(f"{video['id']} (seed {video['seed']}): {path}")


def _drop_none(**options: object) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def _transfer(
    text: str | None, preset: str | None, interval: int | None, scale: float | None
) -> Json:
    """The transfer spec of --transfer, with what the other options name put into it."""
    spec = _json_option("transfer", text).get("transfer", {})
    anchor = _drop_none(interval=interval, scale=scale)
    spec |= _drop_none(preset=preset, anchor=anchor or None)
    return {"transfer": spec} if spec else {}


def _json_option(name: str, text: str | None) -> Json:
    if text is None:
        return {}
    try:
        return {name: json.loads(text)}
    except ValueError as error:
        raise typer.BadParameter(f"--{name} is not JSON: {error}") from error


def main() -> None:
    """Entry point: errors of ours are one sentence and status 1, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (ApiError, StackError, RetakeError) as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        sys.exit(1)
