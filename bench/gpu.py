"""Capture and edit at real size on a GPU: Wan2.1's exact transformer, random weights, CFG.

``python -m bench.gpu`` times the steps of the stock WanPipeline with CUDA events: plain, with
capture of all layers, and as an edit from disk, from host memory, and from latents. Ratios are to
the plain steps of the same run, measured before and after. Each row is printed as soon as it is
known; what does not fit ``--budget-seconds`` any more is skipped, the last first. ``--only``: one
part of it. ``--tiny`` is the same on a CPU, to check the script.
"""

import argparse
import gc
import os
import shutil
import statistics
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from bench.gpu_backends import measure_backends
from bench.gpu_ceilings import Ceilings, step_flops
from bench.gpu_model import TINY, WAN_1_3B, WAN_14B_PART, Bench, GiB, Shape, Timed
from bench.report import print_figures
from schemas.artifacts import Manifest
from schemas.attention import CodecName, Form

EDIT_COST, RERUN_COST = 1.3, 2.1  # a step's expected time over a plain one's


class Expected(NamedTuple):
    """Of a capture: its steps' time over plain ones, at a disk of 1.2 GB/s; bytes over raw ones."""

    cost: float
    size: float


CAPTURES: dict[CodecName, Expected] = {
    "int8": Expected(2.2, 0.5),
    "zipnn": Expected(3.5, 0.8),
    "raw": Expected(5.0, 1.0),
}
PARTS = ("1.3B", "14B", "backends")


class Sheet:
    """One model's results: rows printed as they come, and figures for the end.

    ``deadline``: of ``time.monotonic``; runs that are not expected to end before it are skipped.
    """

    def __init__(self, name: str, bench: Bench, deadline: float) -> None:
        self.bench = bench
        self.figures: dict[str, object] = {}
        self._name, self._deadline = name, deadline
        self._differences: list[float] = []
        bench.run(steps=2)  # warm-up: kernels, allocator
        self.plain = bench.run()
        self._show("plain", self.plain)

    def capture(self, label: str, form: Form, codec: CodecName) -> Manifest:
        timed, manifest = self.bench.capture(form, codec)
        self._show(label, timed, manifest)
        return manifest

    def edit(self, label: str, manifest: Manifest, layers: frozenset[int] | None = None) -> None:
        """A self-edit: but for int8 it must give the plain latents."""
        timed = self.bench.edit(manifest, layers)
        self._show(label, timed)
        if manifest.codec != "int8":
            self._differences.append(float((timed.latents - self.plain.latents).abs().max()))

    def attempt(self, label: str, measure: Callable[[], None]) -> None:
        """A lent machine's time is short: what fails here is shown, and the rest goes on."""
        try:
            measure()
        except Exception:
            self.figures[f"{label}_failed"] = True
            self._print(label, f"failed: {traceback.format_exc()}")

    def fits(self, label: str, cost: float) -> bool:
        """Whether a run of so many plain ones' time still fits the budget; else a row says so."""
        expected_s = cost * self.bench.steps * self.plain.median_ms / 1000
        fits = time.monotonic() + expected_s <= self._deadline
        if not fits:
            self._print(label, f"skipped: {expected_s:.0f} s do not fit the budget")
        return fits

    def holds(self, label: str, size: float, folder: Path) -> bool:
        """Whether an artifact of so many raw ones' bytes has room on disk, and in memory beside
        what the system keeps of the disk."""
        needed = size * self.bench.raw_bytes
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        holds = needed < min(shutil.disk_usage(folder).free, memory / 2)
        if not holds:
            self._print(label, f"skipped: no room for {needed / GiB:.0f} GiB")
        return holds

    def finish(self) -> dict[str, object]:
        """Plain again, and the figures of all."""
        again = self.bench.run()
        self._show("plain again", again)
        both = self.plain.step_ms + again.step_ms
        base, shape = statistics.median(both), self.bench.shape
        flops = 2 * step_flops(shape.layers, shape.dim, shape.ffn_dim, shape.tokens)
        return self.figures | {
            "self_transfer_max_diff": max(self._differences, default=None),
            "plain_step_ms": round(base, 2),
            "plain_spread": round((max(both) - min(both)) / base, 4),
            "plain_tflops": round(flops / base / 1e9, 1),
        }

    def _show(self, label: str, timed: Timed, manifest: Manifest | None = None) -> None:
        """Print a run's row and keep its figures."""
        ratio = timed.median_ms / self.plain.median_ms
        steady = timed.steady_ms / self.plain.steady_ms
        extra = (timed.peak_bytes - self.plain.peak_bytes) / GiB
        row = f"{timed.median_ms:9.1f} ms, {ratio:6.3f} of plain, steady {steady:6.3f}"
        row += f", extra {extra:5.2f} GiB"
        key = label.replace(",", "").replace(" ", "_")
        self.figures[key] = round(ratio, 4)
        self.figures[f"{key}_steady"] = round(steady, 4)
        self.figures[f"{key}_extra_gib"] = round(extra, 3)
        if manifest is not None:
            stored = manifest.stored_bytes / GiB
            row += f", commit {timed.after_s:.1f} s, stored {stored:.2f} GiB"
            self.figures[f"{key}_stored_gib"] = round(stored, 2)
        self._print(label, f"{row}, steps {' '.join(f'{ms:.0f}' for ms in timed.step_ms)}")

    def _print(self, label: str, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self._name:8} {label:32} {text}", flush=True)


def measure(sheet: Sheet, folder: Path) -> None:
    """All variants of one model, those first that the goals are about."""
    sheet.attempt("int8", lambda: measure_codec(sheet, "int8", folder))
    sheet.attempt("latents", lambda: measure_latents(sheet))
    sheet.attempt("zipnn", lambda: measure_codec(sheet, "zipnn", folder))
    sheet.attempt("raw", lambda: measure_codec(sheet, "raw", folder))


def measure_codec(sheet: Sheet, codec: CodecName, folder: Path) -> None:
    """Capture to disk, an edit with an empty host tier, and one from what that left there."""
    label, bench = f"capture {codec}", sheet.bench
    expected = CAPTURES[codec]
    if not sheet.holds(label, expected.size, folder) or not sheet.fits(label, expected.cost):
        return
    manifest = sheet.capture(label, "hidden", codec)
    bench.forget_host()
    for place in ("disk", "host memory"):
        if sheet.fits(label := f"edit from {place}, {codec}", EDIT_COST):
            sheet.edit(label, manifest)
    bench.drop(manifest)
    bench.forget_host()


def measure_latents(sheet: Sheet) -> None:
    if not sheet.fits("capture latents", 1 + RERUN_COST):
        return
    manifest = sheet.capture("capture latents", "latents", "zipnn")
    sheet.edit("edit from latents, all layers", manifest)
    first = frozenset(range(max(1, sheet.bench.shape.layers // 8)))
    if sheet.fits(label := f"edit from latents, {len(first)} layers", EDIT_COST):
        sheet.edit(label, manifest, first)
    sheet.bench.drop(manifest)


def measure_model(
    name: str, shape: Shape, args: argparse.Namespace, deadline: float
) -> dict[str, object]:
    """One model's figures; the model is gone when it returns."""
    device = "cpu" if args.tiny else "cuda"
    steps = args.steps if shape is not WAN_14B_PART else max(4, args.steps // 2)
    with scratch(args.folder) as folder:
        bench = Bench(shape, device, steps, folder)
        left = weakref.ref(bench.pipeline.transformer)
        figures: dict[str, object] = {}
        if args.only != "backends":
            sheet = Sheet(name, bench, deadline)
            measure(sheet, folder)
            figures |= sheet.finish()
            del sheet
        if args.only == "backends" or (args.only is None and shape is not WAN_14B_PART):
            figures |= measure_backends(bench, deadline)
        del bench
    gc.collect()  # modules and hooks refer to each other
    if not args.tiny:
        torch.cuda.empty_cache()
        figures["still_allocated_gib"] = round(torch.cuda.memory_allocated() / GiB, 3)
    figures["released"] = left() is None
    return figures


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="retake-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"))
    parser.add_argument("--folder", type=Path, help="where artifacts are written")
    args = parser.parse_args()
    deadline = time.monotonic() + args.budget_seconds
    ceilings = Ceilings.measure("cpu" if args.tiny else "cuda")
    print(ceilings.figures(), flush=True)
    shapes = {"tiny": TINY} if args.tiny else {"1.3B": WAN_1_3B, "14B": WAN_14B_PART}
    if not args.tiny and args.only is not None:
        shapes = {"1.3B": WAN_1_3B} if args.only != "14B" else {"14B": WAN_14B_PART}
    figures = {name: measure_model(name, shape, args, deadline) for name, shape in shapes.items()}
    print_figures(
        {"bench": "gpu", "device": ceilings.device, "ceilings": ceilings.figures(), **figures}
    )


if __name__ == "__main__":
    main()
