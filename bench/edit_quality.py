"""Edit quality on the bundled model: is the structure kept, and is the asked change made?

Owns the report: for each seed a source, and for each edit four runs: `plain`, a re-generation of
the edit's prompt; `edit`, anchored to the source with the model's preset of its kind; `region`, the
same with only the tokens computed that change; `paper`, a whole second generation with the source's
attention, as in the paper. Prints a table, then one JSON
line. `cost` is counted calls of the transformer over plain's, `structure` the correlation of edge
maps with the source's, `whole` the share of films whose object is whole, `untouched` the PSNR (dB)
outside the objects; intervals are 95% bootstraps over seeds. Only seeds whose source shows its car
count.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.report import Cell, print_figures, print_table
from schemas.attention import PresetName, Region
from schemas.selection import PRESETS
from training.anchored import generate_anchored
from training.drawing.scenes import OBJECTS
from training.edits import EDITS, SOURCE, Edit, Values, change_made, score
from training.exchange import BRANCHES, Anchor, Branch, Choice, Exchange
from training.judge import Judge, Verdict, judge_films, load_judge, validate_judge
from training.metrics import bootstrap
from training.sampling import Settings, generate, load_pipeline
from training.sheets import contact_sheet
from training.stock import Pipeline
from workers.model_settings import CardDefaults

# prompts that leave attributes open must show their object too
TEXTS = {
    "A car is driving on the highway.": "car",
    "A truck is driving on the highway.": "truck",
    "A bus is driving on the sand.": "bus",
    "A dog is running on the grass.": "dog",
    "A cat is running on the sand.": "cat",
    "A car drives.": "car",
}
FIGURES = ("cost", "structure", "iou", "change_made", "whole", "untouched")
RUNS = ("plain", "edit", "region", "paper")
_SHOWN = 24  # films on a sheet
_COND: tuple[Branch, ...] = ("cond",)
# the paper's own way: a second generation, with the layers that its sweep chose
PAPER: dict[str, Choice] = {
    "recolour": Choice(layers=(0, 1, 2, 3, 6, 7), branches=_COND),
    "restyle": Choice(layers=(0, 1, 2, 3, 4, 6, 7), branches=_COND),
    "object": Choice(layers=(0, 1, 2, 3, 4, 6, 7), branches=_COND),
}
Seen = tuple[Tensor, Verdict]  # films (B, 3, T, H, W) and what the judge sees in them


def choices_of(folder: Path, steps: int) -> dict[PresetName, Choice]:
    """The model's presets in a run of so many steps, as the service would apply them."""
    path = folder / "retake.json"
    card = CardDefaults.model_validate_json(path.read_text()) if path.is_file() else CardDefaults()
    presets = PRESETS | (card.presets or {})
    choices: dict[PresetName, Choice] = {}
    for name, preset in presets.items():
        stop, anchor = preset.stop(steps), preset.anchor_of(steps)
        choices[name] = Choice(
            steps=None if stop is None else (0, stop),
            layers=preset.layers,
            branches=preset.branches or BRANCHES,
            anchor=None if anchor is None else Anchor(anchor.interval, anchor.scale),
        )
    return choices


class Bench:
    """The pipeline with hooks, and the judge, on one device."""

    def __init__(
        self,
        folder: Path,
        device: str,
        settings: Settings,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.settings = device, settings
        self.pipeline: Pipeline = load_pipeline(folder, device, dtype)
        self.choices = choices_of(folder, settings.num_inference_steps)
        self.judge: Judge = load_judge(device=device)
        self.exchange = Exchange(self.pipeline.transformer, settings.num_inference_steps)

    def make(self, prompts: list[str], seeds: list[int]) -> list[Seen]:
        """One result a prompt: the films of all seeds, made in one call."""
        rows = [prompt for prompt in prompts for _ in seeds]
        films = generate(self.pipeline, rows, seeds * len(prompts), self.settings, len(rows))
        return self.look(films, len(seeds))

    def look(self, films: Tensor, count: int) -> list[Seen]:
        """Films of several runs of `count`, with what the judge sees: one result a run."""
        return [
            (part, judge_films(self.judge, part))
            for part in torch.split(films.to(self.device), count)
        ]

    def source(self, seeds: list[int]) -> Seen:
        """The sources of these seeds; their attention is kept for the edits that follow."""
        with self.exchange.capturing():
            return self.make([SOURCE], seeds)[0]

    def edit(
        self, prompts: list[str], choices: Sequence[Choice | None], seeds: list[int]
    ) -> tuple[list[Seen], list[float]]:
        """Edits of the last sources, each prompt with its own choice (None: plain).

        Either all choices have an anchor or none has.

        Returns:
            what was made, and how often a film of it went through the transformer.
        """
        anchored = [choice for choice in choices if choice is not None and choice.anchor]
        if not anchored:
            with self.exchange.transferring(choices):
                made = self.make(prompts, seeds)
        else:
            films = generate_anchored(
                self.pipeline, self.exchange, prompts, anchored, seeds, self.settings
            )
            made = self.look(films, len(seeds))
        return made, [passes / len(seeds) for passes in self.exchange.passes]


def with_region(choice: Choice, region: Region) -> Choice:
    """`choice`, which is anchored, computing only the tokens that change."""
    assert choice.anchor is not None
    anchor = replace(
        choice.anchor,
        region="renewed",
        region_threshold=region.threshold,
        region_growth=region.growth,
        region_max_share=region.max_share,
    )
    return replace(choice, anchor=anchor)


def run_edits(
    bench: Bench,
    seeds: list[int],
    batch: int,
    runs: Sequence[str] = RUNS,
    region: Region | None = None,
    sheets: Path | None = None,
    edits: Sequence[Edit] = EDITS,
) -> dict[str, Values]:
    """Every figure by `edit.run.figure`, over the seeds whose source shows its car."""
    figures: dict[str, list[Values]] = defaultdict(list)
    films_of: dict[str, list[Tensor]] = defaultdict(list)
    anchored = [bench.choices[edit.kind] for edit in edits]
    choices: dict[str, Sequence[Choice | None]] = {
        "plain": [None for _ in edits],
        "edit": anchored,
        "region": [with_region(choice, region or Region()) for choice in anchored],
        "paper": [PAPER[edit.kind] for edit in edits],
    }
    for low in range(0, len(seeds), batch):
        part = seeds[low : low + batch]
        source, source_seen = bench.source(part)
        plain = bench.exchange.passes[0] / len(part)  # the source is a plain run
        films_of["source"].append(source.cpu())
        shown = source_seen.obj == OBJECTS.index("car")
        figures["source.shown"].append(shown.astype(np.float64))
        for run in runs:
            made, passes = bench.edit([edit.prompt for edit in edits], choices[run], part)
            for index, (edit, (films, seen)) in enumerate(zip(edits, made, strict=True)):
                values = score(edit, films, seen, source, source_seen)
                values["cost"] = np.full(len(part), passes[index] / plain)
                for key in FIGURES:
                    figures[f"{edit.name}.{run}.{key}"].append(values[key][shown])
                films_of[f"{edit.name}.{run}"].append(films.cpu())
    if sheets is not None:
        for name, films_made in films_of.items():
            labels = [str(seed) for seed in seeds[:_SHOWN]]
            contact_sheet(torch.cat(films_made)[:_SHOWN], sheets / f"{name}.png", labels)
    return {key: np.concatenate(values) for key, values in figures.items()}


def run_texts(bench: Bench, seeds: list[int], batch: int) -> dict[str, Values]:
    """Whether text alone shows what it names."""
    figures: dict[str, list[Values]] = defaultdict(list)
    for low in range(0, len(seeds), batch):
        part = seeds[low : low + batch]
        results = bench.make([*TEXTS, *(edit.prompt for edit in EDITS)], part)
        for (name, obj), (_, seen) in zip(TEXTS.items(), results, strict=False):
            key = f"text.{name.rstrip('.').replace(' ', '_').lower()}.object"
            figures[key].append((seen.obj == OBJECTS.index(obj)).astype(np.float64))
        for edit, (_, seen) in zip(EDITS, results[len(TEXTS) :], strict=True):
            figures[f"text.{edit.name}.change_made"].append(change_made(edit, seen))
    return {key: np.concatenate(values) for key, values in figures.items()}


def summarise(figures: dict[str, Values]) -> dict[str, object]:
    """Print the table; returns the figures with their intervals."""
    summary: dict[str, object] = {}
    rows: list[list[Cell]] = []
    for edit in EDITS:
        for run in (run for run in RUNS if f"{edit.name}.{run}.cost" in figures):
            row: list[Cell] = [edit.name, run]
            for key in FIGURES:
                mean, low, high = bootstrap(figures[f"{edit.name}.{run}.{key}"])
                row.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
                summary[f"{edit.name}.{run}.{key}"] = round(mean, 4)
                summary[f"{edit.name}.{run}.{key}.interval"] = [round(low, 4), round(high, 4)]
            rows.append(row)
    print_table(("edit", "run", *FIGURES), rows)
    others = {
        key: values for key, values in figures.items() if key.startswith(("text.", "source."))
    }
    print()
    print_table(("text alone", "share"), [(key, float(v.mean())) for key, v in others.items()])
    return summary | {key: round(float(values.mean()), 4) for key, values in others.items()}


def main() -> None:
    """Run the bench; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m bench.edit_quality", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/scenes"))
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--drawn", type=int, default=256, help="films the judge is validated on")
    parser.add_argument("--steps", type=int, default=Settings().num_inference_steps)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--runs", nargs="*", choices=RUNS, help="all, and text alone, if none is")
    parser.add_argument("--edits", nargs="*", choices=[edit.name for edit in EDITS])
    parser.add_argument("--region", type=Region.model_validate_json, default=Region())
    parser.add_argument("--sheets", type=Path, help="folder of contact sheets, a PNG a run")
    args = parser.parse_args()
    settings = Settings(num_inference_steps=args.steps)
    bench = Bench(args.model, args.device, settings, getattr(torch, args.dtype))
    judged = validate_judge(bench.judge, args.drawn, args.device)
    seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    runs = args.runs or RUNS
    edits = [edit for edit in EDITS if args.edits is None or edit.name in args.edits]
    figures = run_edits(bench, seeds, args.batch, runs, args.region, args.sheets, edits)
    if not args.runs:
        figures |= run_texts(bench, seeds, args.batch)
    summary = summarise(figures)
    summary |= {f"judge.{key}": round(value, 4) for key, value in judged.items()}
    setting = {"seeds": len(seeds), "device": args.device, "dtype": args.dtype}
    print_figures(summary | setting)


if __name__ == "__main__":
    main()
