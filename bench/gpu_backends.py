"""Plain steps with self-attention under each backend of diffusers that runs on the device."""

import time
from typing import Any

from bench.gpu_model import Bench

EAGER = ("native", "_native_flash", "_native_cudnn", "_native_efficient")
STEPS = 3
COMPILE_S = 90.0  # what compiling a block is allowed for


def measure_backends(bench: Bench, deadline: float) -> dict[str, object]:
    """Milliseconds of a step by backend; ``deadline``: of ``time.monotonic``."""
    figures: dict[str, object] = {}
    for name in EAGER:
        figures |= _measure(bench, name)
    if time.monotonic() + COMPILE_S > deadline:
        print("backend flex: skipped, compiling does not fit the budget", flush=True)
        return figures
    # outside torch.compile flex writes out the N·N scores, 51 GB a layer at Wan 1.3B: fullgraph
    # raises where it would fall back to that. Native compiled is what it is to be compared with
    bench.pipeline.transformer.compile_repeated_blocks(fullgraph=True)
    for name in ("flex", "native"):
        figures |= _measure(bench, name, " compiled")
    return figures


def _measure(bench: Bench, name: str, how: str = "") -> dict[str, object]:
    label = f"backend {name}{how}"
    try:
        for site in bench.tap.sites:
            module: Any = site.module
            module.set_attention_backend(name)
        step_ms = bench.run(steps=STEPS).step_ms
    except Exception as error:  # kernels, packages and compilers fail in ways of their own
        print(f"{label}: not here, {type(error).__name__}: {str(error)[:200]!r}", flush=True)
        return {}
    finally:
        bench.pipeline.transformer.reset_attention_backend()
    print(f"{label}: steps ms {' '.join(f'{ms:.1f}' for ms in step_ms)}", flush=True)
    return {f"{label.replace(' ', '_')}_step_ms": round(step_ms[-1], 2)}
