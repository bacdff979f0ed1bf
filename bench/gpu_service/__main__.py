"""The whole service on this machine's GPUs, as `retake serve` starts it.

``python -m bench.gpu_service --replicas 1 2 4 --ranks 2 4``: with the bundled model, videos a
second by replicas, and replicas of several ranks, of which one is killed. ``--real-size 1.3B``:
a model of that size (random weights, made here) through HTTP, by phase, and its steps on as many
ranks. More than the machine's GPUs allow is left out, and said. ``--gpus 0``: on the CPU, small.
Every figure is printed as soon as it is known; the last line is JSON.
"""

import argparse
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from bench.gpu_service import ranks, real_size, replicas, tail
from bench.gpu_service.wan_folder import SIZES, make_folder
from bench.report import Cell, print_figures, print_table

Figures = dict[str, object]
PARTS = ("calls", "bare", "replay", "ranks", "tail")  # of the real size; two go with calls


class Sheet:
    """Figures by name, in order; a part that fails leaves its error among them."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self.failed = False

    def say(self, found: Mapping[str, object]) -> None:
        for name, value in found.items():
            self.figures[name] = round(value, 4) if isinstance(value, float) else value
            print(f"{name:40} {self.figures[name]}", flush=True)

    def attempt(self, part: str, measure: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            measure()
        except Exception as error:  # the other parts' figures are worth having
            self.failed = True
            self.say({f"{part}_failed": f"{type(error).__name__}: {str(error)[:400]}"})
        print(f"-- {part}: {time.monotonic() - began:.0f} s", flush=True)


def measure_replicas(sheet: Sheet, args: argparse.Namespace, folder: Path) -> None:
    counts = [count for count in args.replicas if count <= (args.gpus or count)]
    replicas.measure_replicas(
        folder, counts, sheet.say, gpus=args.gpus, videos=args.videos, steps=args.steps
    )


def measure_ranks(sheet: Sheet, args: argparse.Namespace, folder: Path, count: int) -> None:
    found = ranks.measure_ranks(folder, count, gpus=args.gpus, steps=args.steps)._asdict()
    del found["ranks"]
    sheet.say({f"bundled_ranks_{count}_{name}": value for name, value in found.items()})


def measure_real_size(sheet: Sheet, args: argparse.Namespace, folder: Path) -> None:
    size = SIZES[args.real_size]
    if args.layers:
        transformer = {**size.transformer, "num_layers": args.layers}
        size = dataclasses.replace(size, transformer=transformer)
    began = time.monotonic()
    device = "cuda" if args.gpus else "cpu"
    make_folder(folder / "model", size, device, whole_text=args.text_encoder == "whole")
    sheet.say({"model_folder_s": time.monotonic() - began})
    plan = real_size.Plan(
        folder / "model",
        size,
        args.gpus,
        args.real_steps,
        args.rounds,
        forms=tuple(args.forms),
        bare="bare" in args.parts,
        replay="replay" in args.parts,
    )
    if "calls" in args.parts:
        sheet.attempt("calls", lambda: real_size.measure_calls(folder / "1", plan, sheet.say))
    if "tail" in args.parts:
        sheet.attempt("tail", lambda: sheet.say(tail.measure_tail(plan)))
    if "ranks" in args.parts:
        short = dataclasses.replace(plan, steps=args.rank_steps)
        for count in (1, *allowed(args)):
            sheet.attempt(f"ranks_{count}", partial(_spread, sheet, folder, short, count))


def _spread(sheet: Sheet, folder: Path, plan: real_size.Plan, count: int) -> None:
    found = real_size.measure_ranks(folder / f"ranks{count}", plan, count)
    sheet.say({f"ranks_{count}_{name}": value for name, value in found.items()})
    one = sheet.figures.get("ranks_1_step_s")
    if count > 1 and isinstance(one, float):
        sheet.say({f"ranks_{count}": one / found["step_s"]})


def allowed(args: argparse.Namespace) -> list[int]:
    """The numbers of ranks that the GPUs are enough for."""
    return [count for count in args.ranks if count <= (args.gpus or count)]


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Short names: there are sockets below."""
    folder = Path(tempfile.mkdtemp(prefix="rb-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--gpus", type=int, default=torch.cuda.device_count())
    add("--replicas", type=int, nargs="*", default=[])
    add("--ranks", type=int, nargs="*", default=[])
    add("--videos", type=int, default=24, help="of each replica, behind two to warm up")
    add("--steps", type=int, default=20, help="of the bundled model's videos")
    add("--real-size", choices=SIZES, help="a model of that size, made here")
    add("--parts", choices=PARTS, nargs="+", default=["calls", "bare", "ranks"])
    add("--forms", choices=real_size.FORMS, nargs="*", default=list(real_size.FORMS))
    add("--layers", type=int, help="of the real size's transformer, rather than all")
    add("--text-encoder", choices=("whole", "one-layer"), default="one-layer")
    add("--real-steps", type=int, default=50)
    add("--rank-steps", type=int, default=6)
    add("--rounds", type=int, default=1, help="generations of the real size, of which the best")
    add("--folder", type=Path, help="where state and model are written")
    args = parser.parse_args()
    if args.videos < 2:
        parser.error(f"--videos: {args.videos} give no rate; allowed is 2 or more")
    return args


def main() -> None:
    args, sheet = parse(), Sheet()
    left_out = sorted({*args.replicas, *args.ranks} - {*range(1, (args.gpus or 1024) + 1)})
    if left_out:
        sheet.say({"left_out": f"{left_out} replicas or ranks: {args.gpus} GPUs"})
    with scratch(args.folder) as folder:
        if args.replicas:
            sheet.attempt("replicas", lambda: measure_replicas(sheet, args, folder / "r"))
        for count in [] if args.real_size else allowed(args):
            measure = partial(measure_ranks, sheet, args, folder / f"k{count}", count)
            sheet.attempt(f"bundled ranks {count}", measure)
        if args.real_size:
            sheet.attempt("real size", lambda: measure_real_size(sheet, args, folder))
        if sheet.failed:
            _show_logs(folder)
    rows: list[list[Cell]] = [[name, str(value)] for name, value in sheet.figures.items()]
    print_table(["what", "value"], rows)
    device = torch.cuda.get_device_name() if args.gpus else "cpu"
    print_figures({"bench": "gpu_service", "device": device, "gpus": args.gpus, **sheet.figures})
    if sheet.failed:
        raise SystemExit(1)


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.rglob("logs/*.log")):
        print(f"== {log.relative_to(folder)}", *log.read_text().splitlines()[-40:], sep="\n")


if __name__ == "__main__":
    main()
