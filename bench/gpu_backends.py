"""Plain steps with self-attention under each backend of diffusers that runs on the device."""

from pathlib import Path
from typing import Any

from bench.gpu_sheet import Sheet

EAGER = ("native", "_native_flash", "_native_cudnn", "_native_efficient")
COMPILED = ("flex", "native")
STEPS = 3
EAGER_COST, COMPILE_S = 1.5 * len(EAGER), 60.0


def measure_backends(sheet: Sheet, _: Path) -> None:
    """Milliseconds of a step by backend. Leaves the model compiled: nothing may come behind it."""
    if not sheet.fits("backends", 1 + EAGER_COST):
        return
    sheet.measure_plain()
    for name in EAGER:
        _measure(sheet, name)
    if not sheet.fits("backends compiled", 0, COMPILE_S):
        return
    # outside torch.compile flex writes out the N·N scores, 51 GB a layer at Wan 1.3B: fullgraph
    # raises where it would fall back to that. Native compiled is what it is to be compared with
    sheet.bench.pipeline.transformer.compile_repeated_blocks(fullgraph=True)
    for name in COMPILED:
        _measure(sheet, name, " compiled")


def _measure(sheet: Sheet, name: str, how: str = "") -> None:
    label, bench = f"backend {name}{how}", sheet.bench
    try:
        for site in bench.tap.sites:
            module: Any = site.module
            module.set_attention_backend(name)
        step_ms = bench.run(steps=STEPS).step_ms
    except Exception as error:  # kernels, packages and compilers fail in ways of their own
        sheet.say(label, f"not here, {type(error).__name__}: {str(error)[:400]!r}")
        return
    finally:
        bench.pipeline.transformer.reset_attention_backend()
    sheet.say(label, f"steps ms {' '.join(f'{ms:.1f}' for ms in step_ms)}")
    sheet.figures[f"{label.replace(' ', '_')}_step_ms"] = round(step_ms[-1], 2)
