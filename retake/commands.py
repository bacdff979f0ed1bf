"""The commands of `retake` that speak to a running server, this machine's or another's."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from retake.client import Client, Json
from retake.demo import follow, job_progress
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
    Path | None,
    typer.Option(help="The picture to start from.", exists=True, dir_okay=False, readable=True),
]
ImageFit = Annotated[str | None, typer.Option(help="crop, pad or stretch it to the size.")]
Priority = Annotated[str | None, typer.Option(help="low, normal or high.")]
Preview = Annotated[int | None, typer.Option(help="Steps from one preview to the next.")]
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
    image: Image = None,
    image_fit: ImageFit = None,
    lora: Loras = None,
    capture: Capture = None,
    capture_spec: CaptureSpec = None,
    priority: Priority = None,
    preview_every: Preview = None,
    webhook_url: Webhook = None,
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Make a film of PROMPT."""
    body = _body(
        prompt=prompt, model=model, seed=seed, size=size, seconds=seconds, num_frames=num_frames,
        fps=fps, steps=steps, negative_prompt=negative_prompt, guidance_scale=guidance_scale,
        lora=lora, capture=capture, capture_spec=capture_spec, priority=priority,
        preview_every=preview_every, webhook_url=webhook_url, image=image, image_fit=image_fit,
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
    image: Image = None,
    image_fit: ImageFit = None,
    lora: Loras = None,
    capture: Capture = None,
    capture_spec: CaptureSpec = None,
    priority: Priority = None,
    preview_every: Preview = None,
    webhook_url: Webhook = None,
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
        named = _source(source, source_prompt, source_seed)
        if (video is None) == (named is None):
            raise typer.BadParameter(
                "give --video, or --source-prompt and --source-seed, or --source; or a film, "
                "--source-prompt and --prompt"
            )
    body = _body(
        prompt=prompt or what, video=video and {"id": video}, source=named, model=model, seed=seed,
        source_prompt=source_prompt if film else None, fit=fit, start_s=start_s,
        size=size, seconds=seconds, num_frames=num_frames, fps=fps, steps=steps,
        negative_prompt=negative_prompt, guidance_scale=guidance_scale, lora=lora,
        capture=capture, capture_spec=capture_spec, priority=priority, preview_every=preview_every,
        webhook_url=webhook_url, transfer=_transfer(transfer, preset, interval, scale),
        image=image, image_fit=image_fit,
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
        query = _drop_none(limit=limit, status=status, model=model)
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


def _body(
    *,
    steps: int | None,
    lora: list[str] | None,
    capture: bool | None,
    capture_spec: str | None,
    image: Path | None,
    image_fit: str | None,
    **named: object,
) -> Json:
    """The request's fields: those that the command line says otherwise, and ``named`` as it is."""
    return _drop_none(
        num_inference_steps=steps,
        loras=_loras(lora),
        capture=_capture(capture, capture_spec),
        input_reference=_picture(image),
        input_reference_fit=image_fit,
        **named,
    )


def _drop_none(**options: object) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def _source(text: str | None, prompt: str | None, seed: int | None) -> Json | None:
    given = _drop_none(prompt=prompt, seed=seed)
    if text is None and not given:
        return None
    named = _json("source", text) if text is not None else {}
    if not isinstance(named, dict):
        raise typer.BadParameter("--source is not a JSON object")
    named |= given
    if not {"prompt", "seed"} <= named.keys():
        raise typer.BadParameter("a source needs its prompt and its seed")
    return named


def _picture(image: Path | None) -> Json | None:
    """The file as a data URL; what it is, the server sees from its bytes."""
    if image is None:
        return None
    data = base64.b64encode(image.read_bytes()).decode("ascii")
    return {"image_url": f"data:application/octet-stream;base64,{data}"}


def _loras(named: list[str] | None) -> list[tuple[str, float]] | None:
    if not named:
        return None
    pairs = []
    for each in named:
        name, _, weight = each.rpartition("=")
        try:
            pairs.append((name, float(weight)))
        except ValueError:
            raise typer.BadParameter(f"--lora {each!r} is not NAME=WEIGHT") from None
    return pairs


def _capture(wanted: bool | None, text: str | None) -> Any:
    if wanted is not None and text is not None:
        raise typer.BadParameter("give --capture, --no-capture or --capture-spec, not two of them")
    return wanted if text is None else _json("capture-spec", text)


def _transfer(
    text: str | None, preset: str | None, interval: int | None, scale: float | None
) -> Json | None:
    """The transfer spec of --transfer, with what the other options name put into it."""
    spec = _json("transfer", text) if text is not None else {}
    if not isinstance(spec, dict):
        raise typer.BadParameter("--transfer is not a JSON object")
    anchor = _drop_none(interval=interval, scale=scale)
    spec |= _drop_none(preset=preset, anchor=anchor or None)
    return spec or None


def _json(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--{name} is not JSON: {error}") from None
