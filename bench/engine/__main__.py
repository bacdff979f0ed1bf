"""What capture and transfer cost: denoising with them over denoising without, in one run.

    python -m bench.engine

A Wan transformer of random weights in the bundled model's pipeline, bfloat16. Each round runs a
plain generation, one that is captured into a folder store with the writer's threads beside it,
one edited from memory, and one edited from the store, one after the other in a turning order; the
ratios are medians over pairs of one round. Beside wall time stands the CPU time of all threads,
which other work on the machine does not change. Memory is the peak of a process of its own, at a
size where the artifact weighs as much as the process: few tokens, many layers and steps.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.engine import anchored
from bench.engine.model import Bench, Timed, build
from bench.report import median_ratio, print_figures, print_table
from workers.artifacts.settings import MiB
from workers.attention.transfer import Capture

PEAK = {"width": 768, "layers": 16, "size": 128, "steps": 60}
KINDS = ("plain", "capture", "edit", "edit_from_store")


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    """Warm up once, then ``rounds`` of all kinds; seconds by kind and the exactness."""
    keep = Capture(bench.plan, bench.memory)
    plain = bench.timed(bench.source, capture=keep)
    edit = bench.edit("A red car is driving on the highway.")
    _, manifest = bench.captured()
    runs: dict[str, Callable[[], Timed]] = {
        "plain": lambda: bench.timed(bench.source),
        "capture": lambda: bench.captured()[0],
        "edit": lambda: bench.timed(edit, stored=bench.held(bench.memory)),
        "edit_from_store": lambda: bench.from_store(manifest, edit),
    }
    timed: dict[str, list[Timed]] = {kind: [] for kind in KINDS}
    for turn in range(rounds):
        for kind in KINDS[turn % 4 :] + KINDS[: turn % 4]:
            timed[kind].append(runs[kind]())
    own = bench.edit(bench.source.generation.prompt)
    again = bench.timed(own, stored=bench.held(bench.memory))
    stored = bench.from_store(manifest, own)
    return {
        "seconds": {kind: [run.seconds for run in timed[kind]] for kind in KINDS},
        "cpu_seconds": {kind: [run.cpu_seconds for run in timed[kind]] for kind in KINDS},
        "self_transfer_max_diff": float((again.latents - plain.latents).abs().max()),
        "self_transfer_from_store_max_diff": float((stored.latents - plain.latents).abs().max()),
        "artifact_bytes": bench.memory.size_bytes,
    }


def artifact_bytes(width: int, layers: int, size: int, steps: int) -> int:
    """Of all hidden states in bf16: two branches, 17 frames of ``size`` pixels a side."""
    return layers * 2 * steps * 5 * (size // 16) ** 2 * width * 2


def peak_rss(kind: str) -> int:
    """The peak resident bytes of a process that does one run of ``kind`` at ``PEAK``."""
    command = [sys.executable, "-m", "bench.engine", "--peak", kind]
    command += [f"--{name}={value}" for name, value in PEAK.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak_rss"])


def run_peak(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(args), Path(folder), artifact_bytes(**PEAK) // 4)
        if args.peak == "capture":
            bench.captured()
        else:
            bench.timed(bench.source)
    print(json.dumps({"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=("plain", "capture"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        run_peak(args)
        return
    model = build(args)
    tokens = model.card.grid.tokens(args.size, args.size, 17)
    n = tokens[0] * tokens[1] * tokens[2]
    pool_bytes = artifact_bytes(args.width, args.layers, args.size, args.steps) // 4
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(model, Path(folder), pool_bytes)
        found = measure(bench, args.rounds)
        found |= anchored.measure(bench, max(1, args.rounds // 2))
    peaks = {kind: peak_rss(kind) for kind in ("plain", "capture")}
    report(found, peaks, {"tokens": n, "peak_artifact_bytes": artifact_bytes(**PEAK)})


def report(found: dict[str, Any], peaks: dict[str, int], more: dict[str, Any]) -> None:
    seconds, cpu = found.pop("seconds"), found.pop("cpu_seconds")
    wall = {kind: median_ratio(seconds[kind], seconds["plain"]) for kind in KINDS}
    work = {kind: median_ratio(cpu[kind], cpu["plain"]) for kind in KINDS}
    rows = [
        (kind, statistics.median(seconds[kind]), wall[kind], work[kind], _mib(peaks.get(kind)))
        for kind in KINDS
    ]
    print_table(("run", "median s", "over plain", "CPU over plain", "peak MiB"), rows)
    figures: dict[str, Any] = {f"{kind}_over_plain": wall[kind] for kind in KINDS[1:]}
    figures |= {f"{kind}_cpu_over_plain": work[kind] for kind in KINDS[1:]}
    figures |= {"peak_rss_over_plain": peaks["capture"] / peaks["plain"]}
    print_figures(figures | found | more | {"rounds": len(seconds["plain"])})


def _mib(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // MiB


if __name__ == "__main__":
    main()
