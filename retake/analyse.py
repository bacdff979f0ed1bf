"""`retake analyse`: an analysis of attention from the command line, its files in a folder."""

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from retake.client import ApiError, Client, Json
from retake.commands import URL, Key, Priority, Url, Webhook
from retake.demo import job_progress
from retake.request_fields import drop_none, json_object

KINDS = ("structure", "sparsity", "sinks", "layer_sweep")
PATH = "/attention/analyses"
console = Console()

Numbers = Annotated[str | None, typer.Option(help="As in 0,3,5-7; left out: all.")]


def analyse(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    prompt: Annotated[list[str] | None, typer.Option(help="Of a run; may be repeated.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Each prompt is run with each.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="And with each model.")] = None,
    video: Annotated[list[str] | None, typer.Option(help="Id of a video to analyse.")] = None,
    source_prompt: Annotated[
        str | None, typer.Option(help="The runs are edits of this prompt's.")
    ] = None,
    transfer: Annotated[str | None, typer.Option(help="Of the edits, as JSON.")] = None,
    layers: Numbers = None,
    heads: Numbers = None,
    steps: Annotated[str | None, typer.Option(help="Likewise; left out: five.")] = None,
    branches: Annotated[str | None, typer.Option(help="cond, uncond or both.")] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows of each map that are looked at, or all.")
    ] = None,
    row_seed: Annotated[int | None, typer.Option(help="Which rows those are.")] = None,
    densities: Annotated[
        str | None, typer.Option(help="Shares of weights that are kept, as in 0.1,0.5.")
    ] = None,
    masses: Annotated[
        str | None, typer.Option(help="Shares of mass that are to be reached, likewise.")
    ] = None,
    causal: Annotated[
        str | None, typer.Option(help="Of sparsity: the causal test, as JSON; {} for defaults.")
    ] = None,
    ablations: Annotated[
        str | None, typer.Option(help="Of sinks: what is taken out, as JSON; {} for defaults.")
    ] = None,
    settings: Annotated[
        str | None, typer.Option(help="More settings of the runs, as JSON: size, num_frames.")
    ] = None,
    priority: Priority = None,
    webhook_url: Webhook = None,
    estimate: Annotated[bool, typer.Option(help="Only say what it would take.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of result.json, report.html, figures.")
    ] = Path("runs/analysis"),
    url: Url = URL,
    api_key: Key = None,
) -> None:
    """Analyse the attention of runs: how it is structured, how sparse, its sinks, its layers."""
    runs = sources_of(
        prompt or [], seed or [0], model or [], video or [], source_prompt,
        json_object("settings", settings), json_object("transfer", transfer),
    )  # fmt: skip
    body = drop_none(
        kind=kind,
        sources=runs,
        layers=numbers_of("layers", layers),
        heads=numbers_of("heads", heads),
        steps=numbers_of("steps", steps),
        branches=branches and branches.split(","),
        sampling=sampling_of(rows, row_seed),
        densities=shares_of("densities", densities),
        masses=shares_of("masses", masses),
        causal=json_object("causal", causal),
        ablations=json_object("ablations", ablations),
        priority=priority,
        webhook_url=webhook_url,
    )
    with Client(url, api_key) as client:
        if estimate:
            show_estimate(client.request("POST", f"{PATH}/estimate", json=body).json())
            return
        analysis = run(client, body)
        save(client, analysis, output)
        console.print(f"{analysis['id']}: {output / 'report.html'}", highlight=False)


def sources_of(
    prompts: list[str],
    seeds: list[int],
    models: list[str],
    videos: list[str],
    source_prompt: str | None,
    settings: Json | None,
    transfer: Json | None,
) -> list[Json]:
    """Videos by id, then every prompt with every seed and every model."""
    found: list[Json] = [{"id": id} for id in videos]
    every_model: list[str] | list[None] = models or [None]
    for prompt, seed, model in product(prompts, seeds, every_model):
        shared = (settings or {}) | drop_none(seed=seed, model=model)
        of = None if source_prompt is None else shared | {"prompt": source_prompt}
        found.append(shared | drop_none(prompt=prompt, source=of, transfer=transfer))
    if not found:
        raise typer.BadParameter("name runs by --prompt and --seed, or videos by --video")
    return found


def numbers_of(name: str, text: str | None) -> list[int] | None:
    """ "0,3,5-7" as [0, 3, 5, 6, 7]."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        start = number_of(name, first)
        found += range(start, number_of(name, last) + 1) if dash else [start]
    return found


def sampling_of(rows: str | None, seed: int | None) -> Json | None:
    """The rows that are looked at: all of them is the API's null."""
    chosen = drop_none(seed=seed)
    if rows is not None:
        chosen["rows"] = None if rows == "all" else number_of("rows", rows)
    return chosen or None


def shares_of(name: str, text: str | None) -> list[float] | None:
    """ "0.1,0.5" as [0.1, 0.5]."""
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--{name}: {text!r} is no list as in 0.1,0.5") from None


def number_of(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise typer.BadParameter(f"--{name}: {text!r} is no number from 0")
    return int(text)


def run(client: Client, body: Json) -> Json:
    """The completed analysis; its steps are shown. Raises ApiError if it failed."""
    analysis: Json = client.request("POST", PATH, json=body).json()
    path = f"{PATH}/{analysis['id']}"
    with job_progress(console) as progress:
        task = progress.add_task(analysis["kind"], total=None)
        for kind, data in client.events_at(path):
            if kind == "progress":
                progress.update(task, completed=data["step"], total=data["total"])
    ended: Json = client.request("GET", path).json()
    if ended["status"] != "completed":
        error = ended["error"] or {}
        raise ApiError(f"{ended['id']}: {error.get('message', 'failed')}", error.get("code"))
    return ended


def save(client: Client, analysis: Json, folder: Path) -> None:
    """Write ``result.json``, ``report.html`` and ``figures/*.png``."""
    path = f"{PATH}/{analysis['id']}"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    files = {"result.json": "result", "report.html": "report"}
    files |= {f"figures/{name}.png": f"figures/{name}.png" for name in analysis["figures"]}
    for name, last in files.items():
        (folder / name).write_bytes(client.request("GET", f"{path}/{last}").content)


def show_estimate(found: dict[str, Any]) -> None:
    table = Table("maps", "videos", "passes", "cost, in generations")
    table.add_row(*(f"{found[name]:g}" for name in ("maps", "videos", "passes", "cost")))
    console.print(table)
