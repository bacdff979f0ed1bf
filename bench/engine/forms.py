"""What an edit from form qk saves: it computes no query and no key of self-attention.

    python -m bench.engine.forms

The engine bench's random-weight Wan, edits of one source from memory in form hidden, which
projects the stored states, and in form qk, which has the projections stored, in a turning order;
ratios are medians over pairs of one round. torch's FLOP counter sees the linears; the CPU's
attention kernel it does not know.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.engine import model as engine_model
from bench.report import median_ratio, print_figures, print_table
from schemas.attention import CaptureSpec, Form
from schemas.resolve_capture import resolve_capture
from workers.artifacts.settings import MiB
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture

FORMS: tuple[Form, ...] = ("hidden", "qk")


class Edits:
    """One source, kept in each form, and its edit."""

    def __init__(self, bench: engine_model.Bench) -> None:
        self.bench = bench
        self.recipe = bench.edit("A red car is driving on the highway.")
        self.maps = {form: MemoryMaps() for form in FORMS}
        for form, maps in self.maps.items():
            plan = resolve_capture(
                CaptureSpec(form=form, scope="everything"), bench.model.card, bench.source
            )
            bench.timed(bench.source, capture=Capture(plan, maps))

    def run(self, form: Form) -> engine_model.Timed:
        return self.bench.timed(self.recipe, stored=self.bench.held(self.maps[form], form))

    def flops(self, form: Form) -> int:
        with FlopCounterMode(display=False) as counter:
            self.run(form)
        return int(counter.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        edits = Edits(engine_model.Bench(engine_model.build(args), Path(folder), 256 * MiB))
        flops = {form: edits.flops(form) for form in FORMS}  # and a warm-up
        timed: dict[Form, list[engine_model.Timed]] = {form: [] for form in FORMS}
        for turn in range(args.rounds):
            for form in FORMS[turn % 2 :] + FORMS[: turn % 2]:
                timed[form].append(edits.run(form))
    wall, work = (
        median_ratio([getattr(run, name) for run in timed["qk"]],
                     [getattr(run, name) for run in timed["hidden"]])
        for name in ("seconds", "cpu_seconds")
    )  # fmt: skip
    counted = flops["qk"] / flops["hidden"]
    print_table(
        ("edit from memory", "wall over hidden", "CPU over hidden", "linears' FLOPs over hidden"),
        [("hidden", 1.0, 1.0, 1.0), ("qk", wall, work, counted)],
    )
    frames, height, width = edits.bench.grid
    print_figures(
        {
            "qk_over_hidden": wall,
            "qk_cpu_over_hidden": work,
            "qk_linear_flops_over_hidden": counted,
            "max_diff": max(
                float((one.latents - other.latents).abs().max())
                for one, other in zip(timed["qk"], timed["hidden"], strict=True)
            ),
            "tokens": frames * height * width,
            "layers": args.layers,
            "width": args.width,
            "rounds": args.rounds,
            "threads": torch.get_num_threads(),
        }
    )


if __name__ == "__main__":
    main()
