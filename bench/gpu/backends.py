"""Plain steps with self-attention under each backend of diffusers that runs on the device."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.gpu.sheet import Sheet

EAGER = ("native", "_native_flash", "_native_cudnn", "_native_efficient")
# outside torch.compile flex writes out the N·N scores, 51 GB a layer at Wan 1.3B
COMPILED = ("flex", "native")
STEPS = 3


def measure_backends(sheet: Sheet, _: Path) -> None:
    """Milliseconds of a step by backend."""
    if sheet.fits("backends", 1.5 * len(EAGER)):
        measure_each(sheet, EAGER)


def measure_each(sheet: Sheet, backends: Iterable[str]) -> None:
    for name in backends:
        _measure(sheet, name)


def _measure(sheet: Sheet, name: str) -> None:
    label, bench = f"backend {name}", sheet.bench
    try:
        for attn in bench.hooks.attention_modules:
            module: Any = attn.module
            module.set_attention_backend(name)
        step_ms = bench.stock(STEPS).step_ms
    except Exception as error:  # kernels, packages and compilers fail in ways of their own
        sheet.say(label, f"not here, {type(error).__name__}: {str(error)[:400]!r}")
        return
    finally:
        bench.pipeline.transformer.reset_attention_backend()
    sheet.say(label, f"steps ms {' '.join(f'{ms:.1f}' for ms in step_ms)}")
    sheet.figures[f"{label.replace(' ', '_')}_step_ms"] = round(step_ms[-1], 2)
