"""Plain steps made faster: the first-block cache, and weights kept in float8."""

from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.gpu.sheet import Sheet

parts: Any = diffusers  # untyped
STEPS = 5
BOUNDLESS = 1e9  # random weights tell nothing of what a first block would decide


def measure_faster(sheet: Sheet, _: Path) -> None:
    """A step whose blocks but the first are left out, and a step of float8 weights, over plain.

    Of a run that refreshes every k-th step, (1 + (k - 1) times the first) / k is the least that it
    can cost. float8 cannot be undone: it comes last.
    """
    if not sheet.fits("faster", 3 * STEPS / sheet.bench.steps):
        return
    plain_ms, transformer = sheet.bench.stock(STEPS).median_ms, sheet.bench.pipeline.transformer
    transformer.enable_cache(parts.FirstBlockCacheConfig(threshold=BOUNDLESS))
    try:
        _note(sheet, "first block alone", sheet.bench.stock(STEPS).median_ms / plain_ms)
    finally:
        transformer.disable_cache()
    transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16
    )
    _note(sheet, "float8 weights", sheet.bench.stock(STEPS).median_ms / plain_ms)


def _note(sheet: Sheet, label: str, ratio: float) -> None:
    sheet.say(label, f"{ratio:6.3f} of plain")
    sheet.figures[label.replace(" ", "_")] = round(ratio, 4)
