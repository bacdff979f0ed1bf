"""Plain steps made faster: the first-block cache, linears in 8 bits, weights kept in float8."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.gpu.sheet import COMPILE_S, Sheet
from workers.model_settings import ModelSettings, Quantization
from workers.models.quantization import linears_config

parts: Any = diffusers  # untyped
STEPS = 5
BOUNDLESS = 1e9  # random weights tell nothing of what a first block would decide


def measure_faster(sheet: Sheet, _: Path) -> None:
    """A step whose blocks but the first are left out, steps whose linears compute in 8 bits, and a
    step of float8 weights, over plain.

    Of a run that refreshes every k-th step, (1 + (k - 1) times the first) / k is the least that it
    can cost. 8-bit linears are made to be compiled, so they are measured so too, over compiled
    plain steps. Neither compiling nor float8 can be undone: they come last.
    """
    if not sheet.fits("faster", 9 * STEPS / sheet.bench.steps, COMPILE_S):
        return
    plain_ms, transformer = sheet.bench.stock(STEPS).median_ms, sheet.bench.pipeline.transformer
    transformer.enable_cache(parts.FirstBlockCacheConfig(threshold=BOUNDLESS))
    try:
        _note(sheet, "first block alone", sheet.bench.stock(STEPS).median_ms / plain_ms)
    finally:
        transformer.disable_cache()
    _measure_computing(sheet, plain_ms, "plain")
    if sheet.bench.device.type == "cuda":
        sheet.bench.compile()
        compiled_ms = sheet.bench.stock(STEPS).median_ms
        _note(sheet, "compiled", compiled_ms / plain_ms)
        _measure_computing(sheet, compiled_ms, "compiled")
    transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16
    )
    _note(sheet, "float8 weights", sheet.bench.stock(STEPS).median_ms / plain_ms)


def _measure_computing(sheet: Sheet, base_ms: float, base: str) -> None:
    ways: tuple[Quantization, ...] = ("int8_dynamic",)
    if sheet.bench.device.type == "cuda":
        ways = ("float8_dynamic", *ways)
    for way in ways:
        with _quantized(sheet.bench.pipeline.transformer, way):
            ratio = sheet.bench.stock(STEPS).median_ms / base_ms
        _note(sheet, f"{way} over {base}", ratio, base)


@contextmanager
def _quantized(transformer: Any, way: Quantization) -> Iterator[None]:
    """The blocks' linears as ``workers.models.quantization`` loads them."""
    from torchao.quantization import quantize_

    settings = ModelSettings(id="bench", path="unread", quantization=way)
    linears = [
        module for module in transformer.blocks.modules() if isinstance(module, torch.nn.Linear)
    ]
    weights = [linear.weight for linear in linears]
    quantize_(transformer.blocks, linears_config(settings))
    try:
        yield
    finally:
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight = weight


def _note(sheet: Sheet, label: str, ratio: float, base: str = "plain") -> None:
    sheet.say(label, f"{ratio:6.3f} of {base}")
    sheet.figures[label.replace(" ", "_")] = round(ratio, 4)
