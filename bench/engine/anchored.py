"""What an anchored edit costs, over a plain run: the second half of ``bench.engine``.

    python -m bench.engine.anchored                  Wan2.1-1.3B's size on a GPU: 832x480, 81 frames
    python -m bench.engine.anchored --together 1 4 16        and so many edits of one source at once
    python -m bench.engine.anchored --runs latents again        of latents that were edited before
    python -m bench.engine.anchored --runs plain --together 1 4 16 --steps 20        those alone

50 steps (or ``--steps``), the default interval: from hidden states and from latents in memory, and
of a source that is replayed; runs are taken in turn, and the ratios are of medians. Edits together
are one batch that shares the source's tensors; a figure is of one of them, over a plain run. Random
weights change everywhere, so the region's threshold is one that leaves tokens out; its cost says
how many.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from bench.engine import model as engine_model
from bench.report import median_ratio, print_figures, print_table
from schemas.attention import Anchor, CaptureSpec, Form, Region
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from workers.analysis.interventions.videos import Progress, Wish, denoise_batch
from workers.artifacts.read.device_cache import DeviceTensors
from workers.attention.maps import MemoryMaps
from workers.attention.stored_source import transfer_from
from workers.attention.transfer import Capture, StoredAttention

STEPS = 50
TIER_BYTES = 40 << 30  # the default edit's hidden states of Wan2.1-1.3B are 30 GB
PROMPT = "A red car is driving on the highway."
THRESHOLD = 1.2  # of Otsu's
FORMS: tuple[Form, ...] = ("hidden", "latents")
NAMES = {
    "hidden": "anchored",
    "latents": "anchored_from_latents",
    "replayed": "anchored_replayed",
    "region": "anchored_region",
    "again": "anchored_from_latents_again",
}
RUNS = tuple(kind for kind in NAMES if kind != "again")  # beside the rest its tier may not fit


def measure(
    bench: engine_model.Bench,
    rounds: int,
    counts: Sequence[int] = (),
    kinds: Sequence[str] = RUNS,
    steps: int = STEPS,
) -> dict[str, float]:
    """Figures by name. ``counts``: of edits that are made together. ``kinds``: of runs beside the
    plain one."""
    source = bench.source_of(steps)
    stored: dict[Form, StoredAttention] = {}
    for form in FORMS:
        maps = MemoryMaps()
        plan = resolve_capture(CaptureSpec(form=form), bench.model.card, source)
        plain = bench.timed(source, capture=Capture(plan, maps))
        stored[form] = StoredAttention(plan, maps)
    every = runs_of(bench, source, stored)
    if "again" in kinds:
        every["again"]()  # the edit before
    runs = {kind: run for kind, run in every.items() if kind in ("plain", *kinds)}
    timed: dict[str, list[engine_model.Timed]] = {kind: [] for kind in runs}
    together: dict[tuple[Form, int], list[tuple[float, float]]] = {
        (form, count): [] for form in FORMS for count in counts
    }
    for _ in range(rounds):
        for kind, run in runs.items():
            timed[kind].append(run())
        for (form, count), each in together.items():
            each.append(seconds_of_one(bench, stored[form], source, count))
    own = engine_model.edit_of(source, source.generation.prompt + " ", Anchor())
    again = bench.timed(own, stored=stored["hidden"])
    difference = float((again.latents - plain.latents).abs().max())
    return {"anchored_self_max_diff": difference} | figures_of(timed, together)


def runs_of(
    bench: engine_model.Bench, source: Recipe, stored: Mapping[Form, StoredAttention]
) -> dict[str, Callable[[], engine_model.Timed]]:
    """By name: the plain run, and the edits of ``NAMES``."""
    edit = engine_model.edit_of(source, PROMPT, Anchor())
    region = Anchor(region=Region(threshold=THRESHOLD, growth=0, max_share=1))
    regional = engine_model.edit_of(source, PROMPT, region)
    tier = DeviceTensors(TIER_BYTES)
    return {
        "plain": lambda: bench.timed(source),
        "hidden": lambda: bench.timed(edit, stored=stored["hidden"]),
        "latents": lambda: bench.timed(edit, stored=stored["latents"]),
        "again": lambda: bench.timed(edit, stored=kept(stored["latents"], tier)),
        "replayed": lambda: bench.timed(edit),
        "region": lambda: bench.timed(regional, stored=stored["hidden"]),
    }


def figures_of(
    timed: Mapping[str, Sequence[engine_model.Timed]],
    together: Mapping[tuple[Form, int], Sequence[tuple[float, float]]],
) -> dict[str, float]:
    """Ratios to the plain run, of wall and of CPU time."""
    plain_s, plain_cpu_s = _seconds(timed["plain"])
    figures = {"plain_s": statistics.median(plain_s)}
    if "region" in timed:
        cost = timed["region"][0].passes / timed["plain"][0].passes
        figures["anchored_region_cost"] = cost
    pairs = {NAMES[kind]: _seconds(runs) for kind, runs in timed.items() if kind != "plain"}
    for (form, count), each in together.items():
        pairs[f"{count}_together_from_{form}"] = (
            [wall for wall, _ in each],
            [cpu for _, cpu in each],
        )
    for name, (wall_s, cpu_s) in pairs.items():
        figures[f"{name}_over_plain"] = median_ratio(wall_s, plain_s)
        figures[f"{name}_cpu_over_plain"] = median_ratio(cpu_s, plain_cpu_s)
    return figures


def _seconds(runs: Sequence[engine_model.Timed]) -> tuple[list[float], list[float]]:
    """Wall and CPU time of each."""
    return [run.seconds for run in runs], [run.cpu_seconds for run in runs]


def kept(stored: StoredAttention, tier: DeviceTensors) -> StoredAttention:
    """``stored``, with what is computed of it left in ``tier``."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reading = tier.open((), device)
    return replace(stored, recomputed=partial(reading.recomputed, "artifact"))


def seconds_of_one(
    bench: engine_model.Bench, stored: StoredAttention, source: Recipe, count: int
) -> tuple[float, float]:
    """Wall and CPU time of one of ``count`` edits of ``source`` in a batch, to its last step."""
    edits = [
        resolve_recipe(
            engine_model.edit_of(source, f"Car {number} is red.", Anchor()), bench.model.card
        )
        for number in range(count)
    ]
    with transfer_from(stored, bench.model.hooks, edits[0]) as taken:
        wishes = [Wish(edit.recipe.generation, transfer=taken) for edit in edits]
        began, cpu_began = time.monotonic(), time.process_time()
        with suppress(engine_model.Denoised):
            steps = source.generation.num_inference_steps
            denoise_batch(bench.model, wishes, Progress(steps, ended))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu_began
    return seconds / count, cpu / count


def ended(done: int, total: int) -> None:
    if done == total:
        raise engine_model.Denoised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1536, help="of the transformer")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--size", default="832x480", help="pixels")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--runs", choices=("plain", *NAMES), nargs="+", default=list(RUNS))
    parser.add_argument("--together", type=int, nargs="*", default=[], help="edits in one batch")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    model = engine_model.build_model(
        args.width, args.layers, args.steps, (width, height), args.frames
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = engine_model.Bench(model, Path(folder), 1 << 30)
        figures = measure(bench, args.rounds, args.together, args.runs, args.steps)
    print_table(("run", "over plain"), list(figures.items()))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print_figures(figures | {"device": device, "rounds": args.rounds})


if __name__ == "__main__":
    main()
