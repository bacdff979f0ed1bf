"""`retake demo`: a video, the same seed with another prompt, and the edit that keeps the shot."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from retake.client import ApiError, Client, Json
from retake.stack import Stack
from retake.videos import contact_sheet, read_video, structure_similarity

SOURCE = "A car is driving on the highway."
EDITS = {  # prompt and kind of edit
    "red": ("A red car is driving on the highway.", "recolour"),
    "winter": ("A car is driving on the highway in the winter.", "restyle"),
    "truck": ("A truck is driving on the highway.", "object"),
}


def run_demo(folder: Path, seed: int, console: Console) -> None:
    """Generate, re-generate and edit on a stack of its own; the videos go into ``folder``.

    Raises StackError where the stack does not start, ApiError where a job fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="retake-"))
    began = time.monotonic()
    try:
        with Stack(data) as stack, Client(stack.base_url) as client:
            with console.status("Starting Valkey, the API and a worker with the bundled model"):
                stack.wait_ready()
            console.print(f"The service is up on {stack.base_url} (in {_since(began)}).")
            videos = _make_videos(client, folder, seed, console)
            console.print("Shutting down.")
    except BaseException:
        logs = folder / "logs"
        shutil.copytree(data / "logs", logs, dirs_exist_ok=True)
        console.print(f"The logs of the parts are in {logs}", style="red")
        raise
    finally:
        shutil.rmtree(data, ignore_errors=True)
    _report(videos, folder, console)
    console.print(f"Done in {_since(began)}. The films are in {folder}")


class Made(NamedTuple):
    """A video of the demo. ``cost``: of its denoising; 1 is a plain generation's."""

    path: Path
    cost: float


def _make_videos(client: Client, folder: Path, seed: int, console: Console) -> dict[str, Made]:
    videos: dict[str, Made] = {}
    with job_progress(console) as progress:
        source = client.create(prompt=SOURCE, seed=seed, capture=True)
        videos["source"] = _finish(client, source, progress, folder / "source.mp4")
        for name, (prompt, kind) in EDITS.items():
            # the same seed, the new prompt: once as it is, once with the source's attention
            plain = client.create(prompt=prompt, seed=seed)
            edit = client.remix(source["id"], prompt=prompt, transfer={"preset": kind})
            videos[f"{name}-plain"] = _finish(client, plain, progress, folder / f"{name}-plain.mp4")
            videos[f"{name}-edit"] = _finish(client, edit, progress, folder / f"{name}-edit.mp4")
    return videos


@contextmanager
def job_progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:14}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


def _finish(client: Client, video: Json, progress: Progress, path: Path) -> Made:
    done = follow(client, video, progress, path.stem)
    return Made(client.download(video["id"], path), done["cost"])


def follow(client: Client, video: Json, progress: Progress, name: str) -> Json:
    """Show a job's steps until it ends; the completed video. Raises ApiError if it failed."""
    task = progress.add_task(name, total=video["num_inference_steps"])
    for kind, data in client.events(video["id"]):
        if kind == "progress":
            progress.update(task, completed=data["step"], total=data["total"])
    video = client.get(video["id"])
    if video["status"] != "completed":
        error = video["error"] or {}
        raise ApiError(f"{name}: {error.get('message', 'failed')}", error.get("code"))
    progress.update(task, completed=progress.tasks[task].total)
    return video


def _report(videos: dict[str, Made], folder: Path, console: Console) -> None:
    frames = {name: read_video(made.path) for name, made in videos.items()}
    source = frames["source"]
    table = Table("edit", "same seed, new prompt", "anchored edit", "price of the edit")
    sources, plains, edits = [], [], []
    for name, (prompt, _) in EDITS.items():
        plain, edit = frames[f"{name}-plain"], frames[f"{name}-edit"]
        likeness = [f"{structure_similarity(video, source):.2f}" for video in (plain, edit)]
        table.add_row(prompt, *likeness, f"{videos[f'{name}-edit'].cost:.2f}")
        sources.append((SOURCE, source))
        plains.append((f"{prompt} ({likeness[0]})", plain))
        edits.append((f"{prompt} ({likeness[1]})", edit))
    rows = (
        ("source", sources),
        ("plain re-generation: same seed, new prompt", plains),
        ("edit: anchored to the source, with its attention", edits),
    )
    contact_sheet(rows).save(folder / "contact_sheet.png", optimize=True)
    console.print("Similarity of structure to the source (1 is the same shot), and the price of")
    console.print("each edit's denoising (1 is a plain generation's):")
    console.print(table)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"
