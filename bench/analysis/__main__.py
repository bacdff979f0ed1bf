"""What an analysis costs, and whether its numbers are right.

    python -m bench.analysis

Cost: structure, sparsity and sinks of all layers, heads, branches and five steps, from sampled
rows, while a video of N = 2,880 tokens is denoised, over denoising it alone; every step is one that
is measured, which is the dearest case. The engine bench's random-weight Wan, bfloat16, in a turning
order; ratios are medians over pairs of one round. Memory: the peak of a process of each.

Right: on the bundled model's own maps, exact rows against the plain definitions in float64
(``bench.analysis.definitions``); and of sampled rows, how many 95% intervals hold the truth.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.analysis import definitions as definitions
from bench.engine.model import SCENES, Bench, build
from bench.report import Cell, median_ratio, print_figures, print_table
from schemas.recipes import Generation, Recipe
from schemas.selection import resolve_recipe
from workers.analysis.attention_calls import AttentionCall, AttentionCalls, Stock
from workers.analysis.collect import Done, collect
from workers.analysis.collector import Collected, CollectPlan
from workers.analysis.measures.grid import TokenGrid, common_boxes
from workers.analysis.measures.measure_layer import DEFINITIONS, FINDINGS, Finding
from workers.analysis.measures.rows import Heads, block_size
from workers.analysis.measures.sinks import TOP
from workers.artifacts.settings import MiB
from workers.generation.denoise import StepInfo
from workers.generation.generate import generate
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

KINDS = ("plain", "statistics")
STEPS = 5
EXACT_STEPS = 4  # of the bundled model's run that is held against the definitions
# which token is first, which head is of which kind: they turn over with the last bit
CHOICES = ("token", "position", "motion", "head_class", "sink_head")


def plan_of(model: LoadedModel, recipe: Recipe, rows: int | None, steps: int) -> CollectPlan:
    """Everything; the maps are drawn and kept for comparison too."""
    generation = recipe.generation
    grid = TokenGrid(
        *model.card.grid.tokens(generation.width, generation.height, generation.num_frames)
    )
    return CollectPlan(
        layers=tuple(range(model.card.layers)),
        steps=tuple(range(steps)),
        branches=model.family.branches(generation.guidance_scale),
        findings=FINDINGS,
        rows=rows,
        boxes=common_boxes([grid], 1024),
        pictured=(steps // 2, "cond"),
    )


def timed_statistics(bench: Bench, rows: int) -> tuple[float, float]:
    plan = plan_of(bench.model, bench.source, rows, STEPS)
    started, cpu_started = time.monotonic(), time.process_time()
    collect(bench.model, bench.source, plan)
    return time.monotonic() - started, time.process_time() - cpu_started


def measure_cost(bench: Bench, rows: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds and CPU seconds of each kind, after one warm-up of both."""
    timed: dict[str, dict[str, list[float]]] = {
        kind: {"seconds": [], "cpu_seconds": []} for kind in KINDS
    }
    for turn in range(-1, rounds):
        for kind in KINDS[turn % 2 :] + KINDS[: turn % 2]:
            if kind == "plain":
                run = bench.timed(bench.source)
                seconds, cpu = run.seconds, run.cpu_seconds
            else:
                seconds, cpu = timed_statistics(bench, rows)
            if turn >= 0:
                timed[kind]["seconds"].append(seconds)
                timed[kind]["cpu_seconds"].append(cpu)
    return timed


def peak_rss(kind: str, args: argparse.Namespace) -> int:
    """The peak resident bytes of a process that does one run of ``kind``."""
    command = [sys.executable, "-m", "bench.analysis", "--peak", kind, f"--rows={args.rows}"]
    command += [f"--{name}={getattr(args, name)}" for name in ("width", "layers", "size")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak_rss"])


def run_peak(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(args), Path(folder), 256 * MiB)
        if args.peak == "statistics":
            timed_statistics(bench, args.rows)
        else:
            bench.timed(bench.source)
    print(json.dumps({"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


class OneCall:
    """The heads of every layer at one step and branch of a run, kept whole."""

    def __init__(self, model: LoadedModel, recipe: Recipe, step: int) -> None:
        self.layers: dict[int, Heads] = {}
        self._step = step

        def after_step(info: StepInfo) -> None:
            if info.step >= step:
                raise Done

        try:
            with AttentionCalls(model, self._keep):
                generate(model, resolve_recipe(recipe, model.card), on_step=after_step)
        except Done:
            pass

    def _keep(self, call: AttentionCall, stock: Stock) -> torch.Tensor:
        part = call.part("cond")
        if call.run.step == self._step and part is not None:
            self.layers[call.attn.layer] = call.heads(part.start)
        return stock()


def measure_exactness(model: LoadedModel) -> dict[str, float]:
    """Of the bundled model's last step, all layers and heads: exact rows against the definitions,
    and the intervals of sampled rows against exact ones."""
    recipe = Recipe(
        generation=Generation(
            model=model.card.id,
            fingerprint=model.card.fingerprint,
            prompt="A car is driving on the highway.",
            negative_prompt="",
            seed=0,
            width=96,
            height=64,
            num_frames=17,
            num_inference_steps=EXACT_STEPS,
            guidance_scale=2.0,
            fps=8,
        )
    )
    step = EXACT_STEPS - 1
    calls = OneCall(model, recipe, step)
    exact, sampled = (
        collect(model, recipe, plan_of(model, recipe, rows, EXACT_STEPS)) for rows in (None, 96)
    )
    return against_definitions(calls, exact, step) | against_truth(sampled, exact)


def against_definitions(calls: OneCall, exact: Collected, step: int) -> dict[str, float]:
    largest, agree, choices = 0.0, 0, 0
    plan, grid = exact.plan, exact.grid
    for number, layer in enumerate(plan.layers):
        heads = calls.layers[layer]
        for head in exact.heads:
            for finding, expected in defined(heads, head, grid, plan).items():
                for name, numbers in expected.items():
                    measured = exact.measures(finding)[name]
                    ours = measured.values[plan.branches.index("cond"), step, number, head]
                    apart = np.nan_to_num(np.abs(ours - numbers))
                    if name in CHOICES:
                        agree += int((apart < 1e-6).sum())
                        choices += apart.size
                    else:
                        largest = max(largest, float(apart.max()))
    return {"exact_max_difference": largest, "choices_agreeing": agree / choices}


def defined(
    attention: Heads, head: int, grid: TokenGrid, plan: CollectPlan
) -> dict[Finding, dict[str, Any]]:
    whole = definitions.softmax_map(attention.query[head], attention.key[head], attention.scale)
    assert attention.value is not None
    value = attention.value[head].double().numpy()
    size = block_size(grid.tokens)
    video = attention.video
    return {
        "structure": definitions.structure(whole, video, grid, value),
        "sparsity": definitions.sparsity(whole, video, plan.densities, plan.masses, size),
        "sinks": definitions.sinks(whole, video, grid, value, TOP),
    }


def against_truth(sampled: Collected, exact: Collected) -> dict[str, float]:
    """The share of all intervals that hold the exact value; of sinks the token may be another."""
    inside, count = 0, 0
    findings: tuple[Finding, ...] = ("structure", "sparsity")
    for finding in findings:
        for name in DEFINITIONS[finding]:
            ours, truth = (each.measures(finding)[name] for each in (sampled, exact))
            if ours.low is None or ours.high is None:
                continue
            room = 1e-6 + 1e-5 * np.abs(truth.values)
            held = (ours.low - room <= truth.values) & (truth.values <= ours.high + room)
            known = np.isfinite(truth.values) & np.isfinite(ours.low)
            inside += int((held & known).sum())
            count += int(known.sum())
    return {"intervals_holding": inside / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--rows", type=int, default=128, help="of each map that are looked at")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.steps = STEPS
    if args.peak:
        run_peak(args)
        return
    exactness = measure_exactness(
        load_model(ModelSettings(id="scenes", path=str(SCENES), dtype="float32"))
    )
    model = build(args)
    frames, height, width = model.card.grid.tokens(args.size, args.size, 17)
    with tempfile.TemporaryDirectory() as folder:
        timed = measure_cost(Bench(model, Path(folder), 256 * MiB), args.rows, args.rounds)
    peaks = {kind: peak_rss(kind, args) for kind in KINDS}
    report(timed, peaks, exactness | {"tokens": frames * height * width, "rows": args.rows})


def report(
    timed: dict[str, dict[str, list[float]]], peaks: dict[str, int], more: dict[str, Any]
) -> None:
    plain = timed["plain"]
    ratios = {
        kind: [median_ratio(each[name], plain[name]) for name in ("seconds", "cpu_seconds")]
        for kind, each in timed.items()
    }
    rows: list[list[Cell]] = [
        [kind, statistics.median(each["seconds"]), *ratios[kind], peaks[kind] // MiB]
        for kind, each in timed.items()
    ]
    print_table(("run", "median s", "over plain", "CPU over plain", "peak MiB"), rows)
    wall, cpu = ratios["statistics"]
    print_figures(
        {
            "statistics_over_plain": wall,
            "statistics_cpu_over_plain": cpu,
            "peak_memory_over_plain": peaks["statistics"] / peaks["plain"],
            **more,
            "steps": STEPS,
            "rounds": len(plain["seconds"]),
            "threads": torch.get_num_threads(),
        }
    )


if __name__ == "__main__":
    main()
