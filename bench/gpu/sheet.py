"""One model's results on a GPU: a row for each run as it comes, and figures for the end."""

import os
import shutil
import statistics
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from bench.gpu.ceilings import step_flops
from bench.gpu.model import Bench, GiB, Timed
from schemas.artifacts import Manifest
from schemas.attention import CodecName, Form

COMPILE_S = 60.0  # of the blocks, about
# Of a capture's bytes, what comes down from the device: int8 is quantised there
_MOVED: dict[CodecName, float] = {"int8": 0.5, "zipnn": 1.0, "raw": 1.0}


class Sheet:
    """Ratios are to the last ``measure_plain``.

    ``deadline``: of ``time.monotonic``; runs that are not expected to end before it are skipped.
    """

    def __init__(self, name: str, bench: Bench, deadline: float) -> None:
        self.name, self.bench, self.deadline = name, bench, deadline
        self.figures: dict[str, object] = {}
        self._differences: list[float] = []
        self._plain_ms: list[float] = []  # of every plain step
        self.plain: Timed
        bench.stock(steps=2)  # warm-up: kernels, allocator
        self._hooked = bench.run()  # again: the first runs of a card are its coolest
        self.measure_plain()
        self._show("plain, hooks on", self._hooked)

    def measure_plain(self) -> None:
        """The base of what follows: a card's clock drifts by a hundredth within minutes."""
        self.plain = self.bench.stock()
        self._plain_ms += self.plain.step_ms
        self._show("plain", self.plain)

    def capture(self, label: str, form: Form, codec: CodecName) -> Manifest:
        timed, manifest = self.bench.capture(form, codec)
        self._show(label, timed, manifest)
        if form != "latents":
            moved = _MOVED[codec] * self.bench.raw_bytes(form) / self.bench.steps
            self._note(label, "to_host_gb_s", moved / timed.median_ms / 1e6)
        return manifest

    def edit(self, label: str, manifest: Manifest, layers: frozenset[int] | None = None) -> None:
        """A self-edit: but for int8 it must give the latents of the run without it."""
        timed = self.bench.edit(manifest, layers)
        self._show(label, timed)
        if manifest.codec != "int8":
            self._differences.append(_difference(timed, self._hooked))

    def attempt(self, label: str, measure: Callable[[], None]) -> None:
        """A lent machine's time is short: what fails here is shown, and the rest goes on."""
        try:
            measure()
        except Exception:  # whatever it was, its trace is printed
            self.figures[f"{label}_failed"] = True
            self.say(label, f"failed: {traceback.format_exc()}")

    def fits(self, label: str, cost: float, more_s: float = 0.0) -> bool:
        """Whether a run of so many plain ones' time still fits the budget; else a row says so."""
        expected_s = cost * self.bench.steps * self.plain.median_ms / 1000 + more_s
        fits = time.monotonic() + expected_s <= self.deadline
        if not fits:
            self.say(label, f"skipped: {expected_s:.0f} s do not fit the budget")
        return fits

    def holds(self, label: str, needed: float, folder: Path) -> bool:
        """Whether so many bytes have room on disk, and in memory beside what the system keeps of
        the disk."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        holds = needed < min(shutil.disk_usage(folder).free, memory / 2)
        if not holds:
            self.say(label, f"skipped: no room for {needed / GiB:.0f} GiB")
        return holds

    def device_holds(self, label: str, needed: int) -> bool:
        """Whether the device has room for so many bytes beside a run."""
        if self.bench.device.type != "cuda":
            return True
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
        holds = needed + self.plain.peak_bytes < 0.9 * free
        if not holds:
            self.say(label, f"skipped: no room for {needed / GiB:.0f} GiB on the device")
        return holds

    def finish(self) -> dict[str, object]:
        """The figures of all."""
        base, shape = statistics.median(self._plain_ms), self.bench.shape
        flops = 2 * step_flops(shape.layers, shape.dim, shape.ffn_dim, shape.tokens)
        return self.figures | {
            "hooked_to_stock_max_diff": _difference(self._hooked, self.plain),
            "self_transfer_max_diff": max(self._differences, default=None),
            "plain_step_ms": round(base, 2),
            "plain_spread": round((max(self._plain_ms) - min(self._plain_ms)) / base, 4),
            "plain_tflops": round(flops / base / 1e9, 1),
        }

    def say(self, label: str, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.name:14} {label:36} {text}", flush=True)

    def _show(self, label: str, timed: Timed, manifest: Manifest | None = None) -> None:
        """Print a run's row and keep its figures."""
        ratio = timed.median_ms / self.plain.median_ms
        extra = (timed.peak_bytes - self.plain.peak_bytes) / GiB
        row = f"{timed.median_ms:9.1f} ms, {ratio:6.3f} of plain, extra {extra:5.2f} GiB"
        if timed is not self.plain:
            self._note(label, "", ratio)
            self._note(label, "extra_gib", extra)
        if manifest is not None:
            stored = manifest.stored_bytes / GiB
            row += f", commit {timed.after_s:.1f} s, stored {stored:.2f} GiB"
            self._note(label, "stored_gib", stored)
        self.say(label, f"{row}, steps {' '.join(f'{ms:.0f}' for ms in timed.step_ms)}")

    def _note(self, label: str, what: str, value: float) -> None:
        words = [label.replace(",", "").replace(" ", "_"), *([what] if what else [])]
        self.figures["_".join(words)] = round(value, 4)


def _difference(one: Timed, other: Timed) -> float:
    return float((one.latents - other.latents).abs().max())
