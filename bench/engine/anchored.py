"""What an anchored edit costs, over a plain run: the second half of ``bench.engine``.

    python -m bench.engine.anchored                  Wan2.1-1.3B's size on a GPU: 832x480, 81 frames

50 steps, the default interval, from hidden states and from latents in memory, and of a source that
is replayed; runs are taken in turn, and the ratios are of medians.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bench.engine import model as engine_model
from bench.report import median_ratio, print_figures, print_table
from schemas.attention import Anchor, CaptureSpec, Form
from schemas.resolve_capture import resolve_capture
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture, StoredAttention

STEPS = 50
FORMS: tuple[Form, ...] = ("hidden", "latents")


def measure(bench: engine_model.Bench, rounds: int) -> dict[str, float]:
    """Figures by name."""
    source = bench.source_of(STEPS)
    stored: dict[Form, StoredAttention] = {}
    for form in FORMS:
        maps = MemoryMaps()
        plan = resolve_capture(CaptureSpec(form=form), bench.model.card, source)
        plain = bench.timed(source, capture=Capture(plan, maps))
        stored[form] = StoredAttention(plan, maps)
    edit = engine_model.edit_of(source, "A red car is driving on the highway.", Anchor())
    own = engine_model.edit_of(source, source.generation.prompt + " ", Anchor())
    runs: dict[str, Callable[[], engine_model.Timed]] = {
        "plain": lambda: bench.timed(source),
        "hidden": lambda: bench.timed(edit, stored=stored["hidden"]),
        "latents": lambda: bench.timed(edit, stored=stored["latents"]),
        "replayed": lambda: bench.timed(edit),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, run in runs.items():
            seconds[kind].append(run().seconds)
    again = bench.timed(own, stored=stored["hidden"])
    return {
        "anchored_over_plain": median_ratio(seconds["hidden"], seconds["plain"]),
        "anchored_from_latents_over_plain": median_ratio(seconds["latents"], seconds["plain"]),
        "anchored_replayed_over_plain": median_ratio(seconds["replayed"], seconds["plain"]),
        "plain_s": statistics.median(seconds["plain"]),
        "anchored_self_max_diff": float((again.latents - plain.latents).abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1536, help="of the transformer")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--size", default="832x480", help="pixels")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    model = engine_model.build_model(args.width, args.layers, STEPS, (width, height), args.frames)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(engine_model.Bench(model, Path(folder), 1 << 30), args.rounds)
    print_table(("run", "over plain"), list(figures.items()))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print_figures(figures | {"device": device, "rounds": args.rounds})


if __name__ == "__main__":
    main()
