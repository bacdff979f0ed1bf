"""Where a step's time goes on the device: the sum of its kernels' times by what they are for.

Kernels of several streams run side by side, so a sum may exceed the step; what a capture or an
edit adds to the plain step's kernels is what it can take from them at most.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch.profiler import ProfilerActivity, profile

from bench.gpu.model import Bench
from bench.gpu.sheet import Sheet
from bench.report import print_table
from schemas.attention import CodecName

T = TypeVar("T")
CODECS: tuple[CodecName, ...] = ("int8", "zipnn")
# The first whose pattern is in a kernel's name
CLASSES = {
    "copies to the host": "Memcpy DtoH",
    "copies to the device": "Memcpy HtoD",
    "copies on the device": "Memcpy DtoD|Memset",
    "packing": "pack_levels|pack_planes",
    "attention": "(?i)flash|sdpa|fmha",
    "matrix products": "(?i)gemm|nvjet|cutlass|xmma|cublas",
    "norms, rotary, activations": "",
}


def measure_profile(sheet: Sheet, folder: Path) -> None:
    """Of a plain run, and by codec of a capture in form hidden and of the edit from disk."""
    bench = sheet.bench
    if not sheet.fits("profile", 3 * (1 + len(CODECS) * 2)):  # two thirds: reading the profile
        return
    columns = {"plain": _profile(bench, bench.stock)[0]}
    for codec in CODECS:
        capture, edit = f"capture {codec}", f"edit {codec}"
        columns[capture], (_, manifest) = _profile(bench, partial(bench.capture, "hidden", codec))
        bench.empty_tiers()
        columns[edit], _ = _profile(bench, partial(bench.edit, manifest))
        bench.drop(manifest)
    print_table(
        ["ms a step", *columns],
        [[name, *(column[name] for column in columns.values())] for name in CLASSES],
    )
    sheet.figures["profile_ms_a_step"] = columns


def _profile(bench: Bench, run: Callable[[], T]) -> tuple[dict[str, float], T]:
    """Milliseconds a step by class, over all steps of ``run``, and what it returned."""
    cuda = bench.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        result = run()
    spent = dict.fromkeys(CLASSES, 0.0)
    for kernel in profiler.key_averages():
        us = kernel.self_device_time_total if cuda else kernel.self_cpu_time_total
        name = next(name for name, pattern in CLASSES.items() if re.search(pattern, kernel.key))
        spent[name] += us / 1000 / bench.steps
    return {name: round(ms, 2) for name, ms in spent.items()}, result
