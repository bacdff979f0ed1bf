"""Capture and edit at real size on a GPU: Wan2.1's exact transformer, random weights, CFG.

``python -m bench.gpu`` times the steps of the stock WanPipeline with CUDA events: plain, with
capture of all layers, and as an edit from disk, from host memory, from the device tier, and from
latents, then with compiled blocks. Ratios are to the plain steps measured last before them, in
which no hook does anything. Each row is printed as soon as it is known; what does not fit
``--budget-seconds`` any more is skipped, the last first. ``--models`` and ``--parts``: some of it.
``--tiny`` is the same on a CPU, to check the script. Ends with 1 if anything failed.
"""

import argparse
import gc
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from bench.gpu.backends import COMPILED, measure_backends, measure_each
from bench.gpu.ceilings import Ceilings
from bench.gpu.faster import measure_faster
from bench.gpu.model import TINY, WAN_1_3B, WAN_14B_PART, Bench, GiB, Shape
from bench.gpu.profile import measure_profile
from bench.gpu.sheet import COMPILE_S, Sheet
from bench.report import print_figures
from schemas.attention import CodecName, Form

MODELS = {"1.3B": WAN_1_3B, "14B": WAN_14B_PART}
EDIT_COST, RERUN_COST, CAPTURE_COST = 1.2, 2.1, 1.5  # a step's expected time over a plain one's
SIZES: dict[CodecName, float] = {"int8": 0.5, "zipnn": 0.8, "raw": 1.0}  # of raw bytes, at most


def measure_hidden(sheet: Sheet, folder: Path) -> None:
    measure_codec(sheet, "hidden", "int8", folder)
    measure_codec(sheet, "hidden", "zipnn", folder, on_device=True)
    measure_codec(sheet, "hidden", "raw", folder)


def measure_qk(sheet: Sheet, folder: Path) -> None:
    measure_codec(sheet, "qk", "int8", folder)
    measure_codec(sheet, "qk", "zipnn", folder, on_device=True)


def measure_codec(
    sheet: Sheet, form: Form, codec: CodecName, folder: Path, *, on_device: bool = False
) -> None:
    """Capture to disk, an edit with an empty host tier, one from what that left there, and one
    from the device tier."""
    label, bench = f"capture {form}, {codec}", sheet.bench
    if not sheet.fits(label, 1 + CAPTURE_COST):
        return
    if not sheet.holds(label, SIZES[codec] * bench.raw_bytes(form), folder):
        return
    sheet.measure_plain()
    manifest = sheet.capture(label, form, codec)
    bench.empty_tiers()
    for place in ("disk", "host memory"):
        if sheet.fits(label := f"edit {form} from {place}, {codec}", EDIT_COST):
            sheet.edit(label, manifest)
    label = f"edit {form} from the device, {codec}"
    room = bench.raw_bytes(form)
    if on_device and sheet.fits(label, 2 * EDIT_COST) and sheet.device_holds(label, room):
        bench.empty_tiers(device_cache_bytes=room)
        bench.edit(manifest)  # fills it
        sheet.edit(label, manifest)
    bench.drop(manifest)
    bench.empty_tiers()


def measure_latents(sheet: Sheet, folder: Path) -> None:
    if not sheet.fits("capture latents", 2 + RERUN_COST):
        return
    sheet.measure_plain()
    manifest = sheet.capture("capture latents", "latents", "zipnn")
    sheet.edit("edit from latents, all layers", manifest)
    first = frozenset(range(max(1, sheet.bench.shape.layers // 8)))
    if sheet.fits(label := f"edit from latents, {len(first)} layers", EDIT_COST):
        sheet.edit(label, manifest, first)
    sheet.bench.drop(manifest)


def measure_compiled(sheet: Sheet, folder: Path) -> None:
    """Plain steps by backend, and form hidden, with the blocks compiled. They stay so."""
    if not sheet.fits("compiled", 1.5 * len(COMPILED) + 2, COMPILE_S):
        return
    sheet.bench.compile()
    compiled = Sheet(f"{sheet.name}, compiled", sheet.bench, sheet.deadline)
    measure_each(compiled, COMPILED)
    measure_hidden(compiled, folder)
    sheet.figures["compiled"] = compiled.finish()


# In the order of what the goals are about
PARTS: dict[str, Callable[[Sheet, Path], None]] = {
    "hidden": measure_hidden,
    "latents": measure_latents,
    "qk": measure_qk,
    "profile": measure_profile,
    "backends": measure_backends,
    "compiled": measure_compiled,
    "faster": measure_faster,
}


def measure_model(
    name: str, shape: Shape, args: argparse.Namespace, deadline: float
) -> dict[str, object]:
    """One model's figures; the model is gone when it returns."""
    device = "cpu" if args.tiny else "cuda"
    with scratch(args.folder) as folder:
        bench = Bench(shape, device, args.steps, folder)
        left = weakref.ref(bench.pipeline.transformer)
        sheet = Sheet(name, bench, deadline)
        for part in [part for part in PARTS if part in args.parts]:
            sheet.attempt(part, partial(PARTS[part], sheet, folder))
        figures = sheet.finish()
        del bench, sheet
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
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--models", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--budget-seconds", type=float, default=float("inf"))
    parser.add_argument("--folder", type=Path, help="where artifacts are written")
    args = parser.parse_args()
    deadline = time.monotonic() + args.budget_seconds
    ceilings = Ceilings.measure("cpu" if args.tiny else "cuda")
    print(ceilings.figures(), flush=True)
    shapes = {"tiny": TINY} if args.tiny else {name: MODELS[name] for name in args.models}
    figures = {name: measure_model(name, shape, args, deadline) for name, shape in shapes.items()}
    print_figures(
        {"bench": "gpu", "device": ceilings.device, "ceilings": ceilings.figures(), **figures}
    )
    if any(key.endswith("_failed") for model in figures.values() for key in model):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
