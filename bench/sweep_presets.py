"""Sweep of the edit's settings on the bundled model: what is computed, and which maps are taken.

Owns the lists of settings, the table and the sheets; the measures are `bench.edit_quality`'s.
`--way anchored` varies interval, scale, layers, first steps and region, `--way paper` steps,
layers, branches and strength. Prints one row a setting and edit, then one JSON line. The order is
by interest: `--seconds` stops early. Sheets are PNGs of every seed of the settings that are named.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from bench.edit_quality import FIGURES, Bench, Seen
from bench.report import Cell, print_figures, print_table
from training.drawing.fitting import fit_object
from training.drawing.scenes import OBJECTS
from training.edits import EDITS, Edit, score
from training.exchange import Anchor, Choice
from training.sampling import Settings
from training.sheets import contact_sheet

Table = dict[str, Choice | None]  # settings by name, most telling first
Figures = dict[str, dict[str, float | list[float]]]  # edit, then figure
_SHOWN = 24  # films on a sheet
_CHOSEN = (2, 3, 6)  # layers of the bundled model that were found to be enough


def paper_settings(steps: int, layers: int) -> Table:
    """The paper's own way, most telling first."""
    part = {name: round(name * steps / 100) for name in (10, 20, 30, 40, 50, 60, 70, 80)}
    half = layers // 2
    table: Table = {"plain": None, "all": Choice()}
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


def _layer_sets(layers: int) -> dict[str, tuple[int, ...] | None]:
    """Layers whose maps are taken, by name."""
    sets: dict[str, tuple[int, ...] | None] = {
        "2, 3, 6": _CHOSEN,
        "none": (),
        "all but 4, 5": tuple(k for k in range(layers) if k not in (4, 5)),
        "3, 6": (3, 6),
        "6": (6,),
        "all": None,
        "all but 5": tuple(k for k in range(layers) if k != 5),
        "all but 4": tuple(k for k in range(layers) if k != 4),
    }
    return sets


def anchored_settings(steps: int, layers: int) -> Table:
    """Anchored edits, most telling first, after what they are held against."""
    sets = _layer_sets(layers)
    usual = 5 if steps <= 20 else round(steps / 6)  # steps between two computed ones
    table: Table = {"plain": None}
    for name in ("all but 5", "all but 4, 5"):
        table[f"paper: {name}"] = Choice(layers=sets[name], branches=("cond",))
    base = Anchor(usual)
    table |= {
        f"k {usual}, {name}": Choice(layers=chosen, anchor=base) for name, chosen in sets.items()
    }
    for name in ("2, 3, 6", "none", "all but 4, 5"):
        table |= _variants(
            f"k {usual}, {name}", Choice(layers=sets[name], anchor=base), base, steps
        )
    table |= {f"k {usual}, {k}": Choice(layers=(k,), anchor=base) for k in range(layers) if k != 6}
    rest = {2, 4, 5, 7, 8, 10, steps // 2, steps // 4, steps // 5} - {usual}
    for interval in [*sorted(rest, key=lambda k: abs(k - usual)), 1]:
        for name in ("2, 3, 6", "none", "all but 4, 5", "3, 6", "6", "all but 5"):
            table[f"k {interval}, {name}"] = Choice(layers=sets[name], anchor=Anchor(interval))
    return table


def _variants(name: str, choice: Choice, base: Anchor, steps: int) -> Table:
    """One setting with one thing changed: scale, first steps, region, steps of the transfer."""
    anchors = {f"w {w}": replace(base, scale=w) for w in (0.8, 1.2, 1.5, 2.0)}
    for part in (5, 10, 20, 30):
        first = max(1, round(part * steps / 100))
        anchors[f"warm start {part}%"] = replace(base, warm_start=first)
        anchors[f"each of the first {part}%"] = replace(base, dense_until=first)
    for threshold in (0.5, 1.0):
        for growth in (1, 2):
            anchors |= {
                f"region {region}, {threshold} of Otsu, growth {growth}": replace(
                    base, region=region, region_threshold=threshold, region_growth=growth
                )
                for region in ("first", "renewed")
            }
    table: Table = {f"{name}, {key}": replace(choice, anchor=a) for key, a in anchors.items()}
    for part in (10, 30, 60):
        stop = max(1, round(part * steps / 100))
        table[f"{name}, maps of the first {part}%"] = replace(choice, steps=(0, stop))
        table[f"{name}, maps after the first {part}%"] = replace(choice, steps=(stop, steps))
    table[f"{name}, strength 0.5"] = replace(choice, strength=0.5)
    return table


class Sweep:
    """Settings of one source, made some at a time, and what is said of them."""

    def __init__(
        self, bench: Bench, seeds: list[int], sheets: Path | None, named: set[str]
    ) -> None:
        self.bench, self.seeds, self.sheets, self.named = bench, seeds, sheets, named
        self.found: dict[str, Figures] = {}
        self.source, self.source_seen = bench.source(seeds)
        self.shown = self.source_seen.obj == OBJECTS.index("car")
        self._plain_passes = bench.exchange.passes[0] / len(seeds)  # the source is a plain run
        if sheets is not None:
            self._draw("source", EDITS[0], (self.source, self.source_seen))

    def run(self, part: Table) -> None:
        """Make and judge the edits of some settings, all anchored or none."""
        runs = [(name, edit) for name in part for edit in EDITS]
        made, passes = self.bench.edit(
            [edit.prompt for _, edit in runs], [part[name] for name, _ in runs], self.seeds
        )
        for (name, edit), result, count in zip(runs, made, passes, strict=True):
            values = score(edit, *result, self.source, self.source_seen)
            figures = {"cost": count / self._plain_passes}
            figures |= {key: float(v[self.shown].mean()) for key, v in values.items()}
            self.found.setdefault(name, {})[edit.name] = figures | self._fit(edit, result)
            if name in self.named and self.sheets is not None:
                self._draw(name, edit, result)

    def _fit(self, edit: Edit, result: Seen) -> dict[str, list[float]]:
        """The worst frame of each film, so that another threshold can be tried later."""
        fit = fit_object(result[0], result[1].mask, edit.obj)
        worst = {"outline": fit.outline.amin(1), "inside": fit.inside.amin(1)}
        return {key: [round(v, 3) for v in values.tolist()] for key, values in worst.items()}

    def _draw(self, name: str, edit: Edit, result: Seen) -> None:
        """A sheet of the first films, labelled with their seeds and their fit."""
        assert self.sheets is not None
        fit = self._fit(edit, result)
        labels = [
            f"{seed}  outline {a:.2f}  inside {b:.2f}"
            for seed, a, b in zip(self.seeds, fit["outline"], fit["inside"], strict=True)
        ][:_SHOWN]
        slug = "".join(c if c.isalnum() or c == "." else "-" for c in f"{name}.{edit.name}")
        contact_sheet(result[0][:_SHOWN].cpu(), self.sheets / f"{slug}.png", labels)


def parts(table: Table, group: int) -> list[Table]:
    """So many settings at a time, anchored ones apart from whole generations."""
    whole = [name for name, choice in table.items() if choice is None or choice.anchor is None]
    anchored = [name for name in table if name not in whole]
    return [
        {name: table[name] for name in names[low : low + group]}
        for names in (whole, anchored)
        for low in range(0, len(names), group)
    ]


def arguments() -> argparse.Namespace:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep_presets", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/scenes"))
    parser.add_argument("--way", choices=("anchored", "paper"), default="anchored")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=1000, help="not the bench's seeds")
    parser.add_argument("--steps", type=int, default=Settings().num_inference_steps)
    parser.add_argument("--guidance", type=float, default=Settings().guidance_scale)
    parser.add_argument("--only", nargs="*", help="settings to run, by name; all if none is named")
    parser.add_argument("--group", type=int, default=1, help="settings in one call")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheets", type=Path, help="folder of the contact sheets")
    parser.add_argument("--named", nargs="*", default=[], help="settings that a sheet is drawn of")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Run the sweep; see `--help`."""
    args = arguments()
    began = time.perf_counter()
    torch.set_float32_matmul_precision("high")
    settings = Settings(num_inference_steps=args.steps, guidance_scale=args.guidance)
    bench = Bench(args.model, args.device, settings)
    seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    layers = len(bench.pipeline.transformer.blocks)
    table = (anchored_settings if args.way == "anchored" else paper_settings)(args.steps, layers)
    if args.only:
        table = {name: table[name] for name in args.only}
    sweep = Sweep(bench, seeds, args.sheets, set(args.named))
    for part in parts(table, args.group):
        if time.perf_counter() - began > args.seconds:
            break
        sweep.run(part)
    rows: list[list[Cell]] = [
        [name, edit, *(f"{figures[key]:.3f}" for key in FIGURES)]
        for name, edits in sweep.found.items()
        for edit, figures in edits.items()
    ]
    print_table(("setting", "edit", *FIGURES), rows)
    setting = {"steps": args.steps, "guidance": args.guidance, "seeds": len(seeds)}
    if args.out is not None:
        args.out.write_text(json.dumps(setting | {"found": sweep.found}) + "\n")
    print_figures(
        {"settings": len(sweep.found), "left_out": len(table) - len(sweep.found)} | setting
    )


if __name__ == "__main__":
    main()
