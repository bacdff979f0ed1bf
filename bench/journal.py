"""What writing a job down costs, and what going on from there saves.

    python -m bench.journal

The transformer of ``bench.engine`` (random weights, N = 2,880, bfloat16) through the stock
pipeline. Each round runs it plain, written down from its first step into a folder store, and
resumed by a journal that ends ``LEFT`` steps before the end; ratios are medians over pairs of one
round. A run that is taken up again without a journal costs what plain does.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.engine.model import Bench, Timed, build
from bench.report import Cell, median_ratio, print_figures, print_table
from storage.objects.folder import FolderStore
from workers.generation.journal import Journal

LEFT = 2  # steps that the killed run did not make
KINDS = ("plain", "written down", "resumed")


class Journaled:
    """Runs of one source beside a journal in ``folder``."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.objects = bench, FolderStore(folder)

    def run(self, name: str) -> Timed:
        """Written down under ``name``; what is there already is not computed again."""
        journal = Journal(self.objects, self.bench.model, name, "bench", after_s=1e-9)
        with journal.open():
            return self.bench.timed(self.bench.source)

    def cut(self, name: str) -> None:
        """Forget the last steps of a whole journal, as a kill before them would."""
        calls = sorted(info.key for info in self.objects.list(name))
        self.objects.delete(*calls[-2 * LEFT :])  # two branches

    def call_bytes(self, name: str) -> float:
        return statistics.mean(info.size for info in self.objects.list(name))


def measure(journaled: Journaled, rounds: int) -> tuple[dict[str, list[Timed]], bool]:
    """Runs by kind, and whether the latents of all are the same to the bit."""
    timed: dict[str, list[Timed]] = {kind: [] for kind in KINDS}
    plain = journaled.bench.timed(journaled.bench.source)
    equal = True
    for turn in range(rounds):
        timed["plain"].append(journaled.bench.timed(journaled.bench.source))
        timed["written down"].append(journaled.run(f"round-{turn}"))
        journaled.cut(f"round-{turn}")
        timed["resumed"].append(journaled.run(f"round-{turn}"))
        equal &= all(bool((timed[kind][-1].latents == plain.latents).all()) for kind in KINDS)
    return timed, equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(args), Path(folder) / "unused", 64 << 20)
        journaled = Journaled(bench, Path(folder) / "journal")
        timed, equal = measure(journaled, args.rounds)
        call_bytes = journaled.call_bytes("round-0")
    seconds = {kind: [run.seconds for run in runs] for kind, runs in timed.items()}
    ratio = {kind: median_ratio(seconds[kind], seconds["plain"]) for kind in KINDS}
    rows: list[list[Cell]] = [
        [kind, statistics.median(seconds[kind]), ratio[kind]] for kind in KINDS
    ]
    print_table(["run", "median s", "over plain"], rows)
    figures: dict[str, Any] = {
        "journal_over_plain": round(ratio["written down"], 4),
        "resume_over_plain": round(ratio["resumed"], 4),
        "computed_share": LEFT / args.steps,
        "bytes_per_call": round(call_bytes),
        "equal": equal,
    }
    print_figures(figures | {"rounds": args.rounds})


if __name__ == "__main__":
    main()
