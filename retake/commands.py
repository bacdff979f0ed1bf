"""The commands of `retake` that speak to a running server, this machine's or another's."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retake.client import Client, Json
from retake.demo import follow, job_progress
from retake.request_fields import body_of, drop_none, region_of, source_of, transfer_of
from retake.tables import id_table

console = Console()

Url = Annotated[
    str, typer.Option(envvar="RETAKE_URL", help="The server, as in http://127.0.0.1:8000.")
]
Key = Annotated[str | None, typer.Option(envvar="RETAKE_API_KEY", help="A bearer key.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where the mp4 is written.")]
Transfer = Annotated[str | None, typer.Option(help="A transfer spec as JSON.")]
Capture = Annotated[bool | None, typer.Option(help="Keep the attention for later edits.")]
CaptureSpec = Annotated[str | None, typer.Option(help="Which attention is kept, as JSON.")]
Loras = Annotated[list[str] | None, typer.Option("--lora", help="NAME=WEIGHT; may be repeated.")]
Image = Annotated[
    str | None,
    typer.Option(help="The picture to start from: a file, an upload's id or an address."),
]
ImageFit = Annotated[str | None, typer.Option(help="crop, pad or stretch it to the size.")]
Priority = Annotated[str | None, typer.Option(help="low, normal or high.")]
Preview = Annotated[int | None, typer.Option(help="Steps from one preview to the next.")]
StepCache = Annotated[
    str | None, typer.Option(help="Leave out blocks that change little: JSON, {} for defaults.")
]
StartTimeout = Annotated[int | None, typer.Option(help="Fail unless begun within so long.")]
Webhook = Annotated[str | None, typer.Option(help="The one endpoint that is told of this job.")]
URL = "http://127.0.0.1:8000"


def add_to(app: typer.Typer) -> None:
    """Every command here, as one of ``app``."""
    for name, command in (
        ("generate", generate), ("edit", edit), ("get", get), ("list", list_videos),
        ("cancel", cancel), ("delete", delete),
    ):  # fmt: skip
        app.command(name=name)(command)


def generate(
    prompt: str,
    out: Out = None,
    model: str | None = None,
    seed: int | None = None,
    size: str | None = None,
    seconds: str | None = None,
    num_frames: int | None = None,
    fps: int | None = None,
    steps: int | None = None,
    negative_prompt: str | None = None,
    guidance_scale: float | None = None,
    guidance_scale_2: float | None = None,
    image: Image = None,
    image_fit: ImageFit = None,
    lora: Loras = None,
    step_cache: StepCache = None,
    capture: Capture = None,
    capture_spec: CaptureSpec = None,
    priority: Priority = None,
    preview_every: Preview = None,
    webhook_url: Webhook = None,
    start_timeout_s: StartTimeout = None,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Make a film of PROMPT."""
    body = body_of(
        prompt=prompt, model=model, seed=seed, size=size, seconds=seconds, num_frames=num_frames,
        fps=fps, steps=steps, negative_prompt=negative_prompt, guidance_scale=guidance_scale,
        guidance_scale_2=guidance_scale_2, lora=lora, capture=capture, capture_spec=capture_spec,
        priority=priority,
        preview_every=preview_every, webhook_url=webhook_url, image=image, image_fit=image_fit,
        step_cache=step_cache, start_timeout_s=start_timeout_s,
    )  # fmt: skip
    check_out(out)
    with Client(url, api_key) as client:
        _await(client, client.create(**body), out)


def edit(
    what: Annotated[str, typer.Argument(metavar="FILM|PROMPT", help="A film, or the prompt.")],
    prompt: Annotated[str | None, typer.Option(help="What the edit of a film shows.")] = None,
    fit: Annotated[str | None, typer.Option(help="Of a film: crop or pad.")] = None,
    start_s: Annotated[float | None, typer.Option(help="Of a film: where to begin.")] = None,
    video: Annotated[str | None, typer.Option(help="Id of the source.")] = None,
    source_prompt: Annotated[str | None, typer.Option(help="Or its prompt...")] = None,
    source_seed: Annotated[int | None, typer.Option(help="...and its seed.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Or its prompt, seed and other settings, as JSON.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The kind of edit.")] = None,
    interval: Annotated[int | None, typer.Option(help="Steps between computed ones.")] = None,
    scale: Annotated[float | None, typer.Option(help="How much of the change is made.")] = None,
    anchor_region: Annotated[
        str | None, typer.Option(help="Compute changing tokens only: JSON, {} for defaults.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Where: a mask, white is edited; auto; word:…; box:x,y,w,h.")
    ] = None,
    growth: Annotated[int | None, typer.Option(help="Pixels that it is widened by.")] = None,
    softness: Annotated[int | None, typer.Option(help="Pixels that its edge takes.")] = None,
    transfer: Transfer = None,
    out: Out = None,
    model: str | None = None,
    size: str | None = None,
    seconds: str | None = None,
    num_frames: int | None = None,
    fps: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    negative_prompt: str | None = None,
    guidance_scale: float | None = None,
    guidance_scale_2: float | None = None,
    image: Image = None,
    image_fit: ImageFit = None,
    lora: Loras = None,
    step_cache: StepCache = None,
    capture: Capture = None,
    capture_spec: CaptureSpec = None,
    priority: Priority = None,
    preview_every: Preview = None,
    webhook_url: Webhook = None,
    start_timeout_s: StartTimeout = None,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Make a source again with another prompt, keeping its shot: `retake edit PROMPT --video ID`,
    or of a film of your own, `retake edit mine.mp4 --source-prompt … --prompt …`."""
    film = Path(what) if prompt is not None else None
    if film is not None:
        _check_film(film, source_prompt, video or source or source_seed)
        named = None
    else:
        named = source_of(source, source_prompt, source_seed)
        if (video is None) == (named is None):
            raise typer.BadParameter(
                "give --video, or --source-prompt and --source-seed, or --source; or a film, "
                "--source-prompt and --prompt"
            )
    body = body_of(
        prompt=prompt or what, video=video and {"id": video}, source=named, model=model, seed=seed,
        source_prompt=source_prompt if film else None, fit=fit, start_s=start_s,
        size=size, seconds=seconds, num_frames=num_frames, fps=fps, steps=steps,
        negative_prompt=negative_prompt, guidance_scale=guidance_scale,
        guidance_scale_2=guidance_scale_2, lora=lora,
        capture=capture, capture_spec=capture_spec, priority=priority, preview_every=preview_every,
        transfer=transfer_of(transfer, preset, interval, scale, anchor_region),
        webhook_url=webhook_url, image=image, image_fit=image_fit,
        region=region_of(region, growth, softness),
        step_cache=step_cache, start_timeout_s=start_timeout_s,
    )  # fmt: skip
    check_out(out)
    with Client(url, api_key) as client:
        if film is not None:
            body["video"] = {"id": client.upload(film)["id"]}
        _await(client, client.edit(**body), out)


def _check_film(film: Path, source_prompt: str | None, other: object) -> None:
    if not film.is_file():
        raise typer.BadParameter(f"{film} is not a file; --prompt is for films of your own")
    if source_prompt is None:
        raise typer.BadParameter("--source-prompt is required: it says what the film shows")
    if other is not None:
        raise typer.BadParameter("the film is the source; leave out --video, --source and its seed")


def get(video_id: str, out: Out = None, url: Url = URL, api_key: Key = None) -> None:
    """Print a video's record; with --out, download its film."""
    check_out(out)
    with Client(url, api_key) as client:
        console.print_json(data=client.get(video_id))
        if out:
            client.download(video_id, out)


def list_videos(
    limit: int = 20,
    status: Annotated[
        str | None, typer.Option(help="Only queued, in_progress, completed or failed ones.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """The newest videos."""
    with Client(url, api_key) as client:
        table = id_table(34, "status", "seed", "prompt")
        query = drop_none(limit=limit, status=status, model=model)
        for video in client.list(**query)["data"]:
            table.add_row(video["id"], video["status"], str(video["seed"]), video["prompt"])
        console.print(table)


def cancel(video_id: str, url: Url = URL, api_key: Key = None) -> None:
    """Stop a queued or running job."""
    with Client(url, api_key) as client:
        console.print(client.cancel(video_id)["status"])


def delete(video_id: str, url: Url = URL, api_key: Key = None) -> None:
    """Delete a video and everything stored for it."""
    with Client(url, api_key) as client:
        console.print(f"deleted {client.delete(video_id)['id']}")


def check_out(out: Path | None) -> None:
    """Refuse a path that the film could not be written to, before it is paid for."""
    path = out or Path("video.mp4")
    if path.is_dir():
        raise typer.BadParameter(f"--out {path} is a folder; give a file, as in {path}/film.mp4")
    folder = path.parent
    if not folder.is_dir():
        raise typer.BadParameter(f"--out {path}: there is no folder {folder}")
    try:
        with (path if path.exists() else folder / f".{path.name}.probe").open("ab"):
            pass
    except OSError as error:
        raise typer.BadParameter(f"--out {path}: {error.strerror}") from None
    finally:
        (folder / f".{path.name}.probe").unlink(missing_ok=True)


def _await(client: Client, video: Json, out: Path | None) -> None:
    with job_progress(console) as progress:
        video = follow(client, video, progress, video["id"])
    path = client.download(video["id"], out or Path(f"{video['id']}.mp4"))
    console.print(f"{video['id']} (seed {video['seed']}): {path}", soft_wrap=True)
    if video.get("attention_not_kept"):
        console.print(f"Its attention is not kept: {video['attention_not_kept']}", style="dim")
