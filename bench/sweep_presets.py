"""Sweep of the transfer's settings on the bundled model: steps, layers, branches, strength.

Owns the list of settings and the table; the measures are `bench.edit_quality`'s. Prints one row
a setting and edit, then one JSON line. The order is by interest: `--seconds` stops early.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from bench.edit_quality import Bench
from bench.report import Cell, print_figures, print_table
from training.edits import EDITS, Values, score
from training.exchange import Choice
from training.sampling import Settings
from training.scenes import OBJECTS
from training.sheets import contact_sheet

Figures = dict[str, dict[str, float]]  # edit, then figure


def settings_list(steps: int, layers: int) -> dict[str, Choice | None]:
    """Every setting of the sweep by name, most telling first."""
    part = {name: round(name * steps / 100) for name in (10, 20, 30, 40, 50, 60, 70, 80)}
    half = layers // 2
    table: dict[str, Choice | None] = {"plain": None, "all": Choice()}
    table |= {
        "cond only": Choice(branches=("cond",)),
        "uncond only": Choice(branches=("uncond",)),
        "cond into both": Choice(source_branch="cond"),
    }
    for name, stop in part.items():
        table[f"steps 0-{name}%"] = Choice(steps=(0, stop))
        table[f"cond only, steps 0-{name}%"] = Choice(steps=(0, stop), branches=("cond",))
    table |= {f"layer {k}": Choice(layers=(k,)) for k in range(layers)}
    table |= {
        "cond only, strength 1 to 0": Choice(branches=("cond",), strength_end=0.0),
        "cond only, strength 0.75": Choice(branches=("cond",), strength=0.75),
        "strength 1 to 0": Choice(strength_end=0.0),
        "strength 1 to 0.5": Choice(strength_end=0.5),
        "strength 0.25": Choice(strength=0.25),
        "strength 0.5": Choice(strength=0.5),
        "strength 0.75": Choice(strength=0.75),
        f"layers 0-{half - 1}": Choice(layers=tuple(range(half))),
        f"layers {half}-{layers - 1}": Choice(layers=tuple(range(half, layers))),
        "steps 20-100%": Choice(steps=(part[20], steps)),
        "steps 50-100%": Choice(steps=(part[50], steps)),
    }
    table |= {
        f"all but layer {k}": Choice(layers=tuple(n for n in range(layers) if n != k))
        for k in range(layers)
    }
    for name in (30, 50):
        early = (0, part[name])
        table[f"cond into both, steps 0-{name}%"] = Choice(steps=early, source_branch="cond")
    table |= {
        f"layers 0-{last}": Choice(layers=tuple(range(last + 1)))
        for last in range(1, layers - 1)
        if last != half - 1
    }
    return table


def sweep(
    bench: Bench, seeds: list[int], group: int, seconds: float, sheet: Path | None
) -> dict[str, Figures]:
    """Figures of every setting that there was time for, by its name."""
    began = time.perf_counter()
    source, source_seen = bench.source(seeds)
    shown = source_seen.obj == OBJECTS.index("car")
    choices = settings_list(
        bench.settings.num_inference_steps, len(bench.pipeline.transformer.blocks)
    )
    found: dict[str, Figures] = {}
    films, labels = [source[:3].cpu()], ["source"] * 3
    names = list(choices)
    for low in range(0, len(names), group):
        if time.perf_counter() - began > seconds:
            break
        part = names[low : low + group]
        runs = [(name, edit) for name in part for edit in EDITS]
        results = bench.edit(
            [edit.prompt for _, edit in runs], [choices[name] for name, _ in runs], seeds
        )
        for (name, edit), (made, seen) in zip(runs, results, strict=True):
            values: dict[str, Values] = score(edit, made, seen, source, source_seen)
            means = {key: float(np.mean(v[shown])) for key, v in values.items()}
            found.setdefault(name, {})[edit.name] = means
            if sheet is not None and edit.name in ("red", "winter") and (
                name in ("plain", "all") or name.startswith("layer ")
            ):  # fmt: skip
                films.append(made[:3].cpu())
                labels += [f"{edit.name}: {name}"] * 3
    if sheet is not None:
        contact_sheet(torch.cat(films), sheet, labels, frames=(8,), columns=9)
    return found


def main() -> None:
    """Run the sweep; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep_presets", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/scenes"))
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=1000, help="not the bench's seeds")
    parser.add_argument("--steps", type=int, default=Settings().num_inference_steps)
    parser.add_argument("--group", type=int, default=1, help="settings in one call")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="contact sheet of the layers, a PNG")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    bench = Bench(args.model, args.device, Settings(num_inference_steps=args.steps))
    seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    found = sweep(bench, seeds, args.group, args.seconds, args.sheet)
    rows: list[list[Cell]] = [
        [name, edit, *(f"{value:.3f}" for value in figures.values())]
        for name, edits in found.items()
        for edit, figures in edits.items()
    ]
    print_table(("setting", "edit", "structure", "iou", "change", "untouched"), rows)
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    print_figures({"settings": len(found), "seeds": len(seeds)})


if __name__ == "__main__":
    main()
