"""Capture and edit at real size on a GPU: Wan2.1's exact transformer, random weights, CFG.

``python -m bench.gpu`` runs the stock WanPipeline from prompt embeddings to latents (neither text
encoder nor VAE take part in a denoising step) and times its steps with CUDA events: plain, with
capture of all layers, and as an edit from host memory, from disk, and from latents. Ratios are to
the plain steps of the same run, measured before and after. ``--tiny`` is the same on a CPU, to
check the script.
"""

import argparse
import gc
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.gpu_ceilings import Ceilings, step_flops
from bench.report import Cell, print_figures, print_table
from schemas.artifacts import CapturePlan, Manifest, Needed
from schemas.attention import Branch, CodecName, Form
from schemas.recipes import Generation, Recipe
from storage.folder import FolderStore
from training.stock import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import MapSource
from workers.attention.rerun import RerunSource
from workers.attention.run import Capture, Transfer
from workers.attention.tap import Tap
from workers.families.wan import WAN

BRANCHES: tuple[Branch, ...] = ("cond", "uncond")
# flex is left out: outside torch.compile it writes out the N·N scores, 51 GB a layer at this size
BACKENDS = ("native", "_native_flash", "_native_cudnn", "_native_efficient")
GiB = 1 << 30


@dataclass(frozen=True)
class Shape:
    """A transformer's configuration and the video it makes."""

    layers: int
    heads: int
    head_dim: int
    ffn_dim: int
    width: int = 832
    height: int = 480
    num_frames: int = 81

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.num_frames - 1) // 4 + 1, self.height // 16, self.width // 16

    @property
    def tokens(self) -> int:
        frames, rows, columns = self.grid
        return frames * rows * columns


WAN_1_3B = Shape(layers=30, heads=12, head_dim=128, ffn_dim=8960)
WAN_14B_PART = Shape(layers=4, heads=40, head_dim=128, ffn_dim=13824)
TINY = Shape(2, 2, 16, 64, width=64, height=64, num_frames=9)


@dataclass(frozen=True)
class Timed:
    """One run: its latents, the time of each step but the first, the peak of device memory."""

    latents: Tensor
    step_ms: tuple[float, ...]
    peak_bytes: int


class Bench:
    """One model on one device, with an artifact store on local disk."""

    def __init__(self, shape: Shape, device: str, steps: int, folder: Path) -> None:
        self.shape, self.device, self.steps = shape, torch.device(device), steps
        torch.manual_seed(0)
        dtype = torch.bfloat16
        with torch.device(self.device):
            transformer = WanTransformer3DModel(
                num_attention_heads=shape.heads,
                attention_head_dim=shape.head_dim,
                ffn_dim=shape.ffn_dim,
                num_layers=shape.layers,
                text_dim=4096,
            ).to(dtype)
            text = torch.randn(2, 1, 512, 4096, dtype=dtype)
        self.prompt, self.negative = text[0], text[1]
        self.pipeline: Any = WanPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
            scheduler=UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
            transformer=transformer.eval(),
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self.tap = Tap(self.pipeline, WAN)
        threads = 4 if self.device.type == "cuda" else 1
        self.objects = FolderStore(folder)
        self.store = ArtifactStore(
            self.objects,
            ArtifactSettings(
                pool_bytes=8 * GiB if self.device.type == "cuda" else GiB,
                window_bytes=4 * GiB if self.device.type == "cuda" else GiB,
                encode_threads=2 * threads,
                upload_threads=2 * threads,
                fetch_threads=2 * threads,
                decode_threads=2 * threads,
                host_cache_bytes=40 * GiB if self.device.type == "cuda" else GiB,
            ),
        )
        self.layers, self.all_steps = frozenset(range(shape.layers)), frozenset(range(steps))

    def run(self, capture: Capture | None = None, transfer: Transfer | None = None) -> Timed:
        """The stock pipeline from the same noise."""
        cuda = self.device.type == "cuda"
        marks: list[Any] = []
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        with self.tap.run(
            total_steps=self.steps,
            branches=BRANCHES,
            tokens=self.shape.tokens,
            capture=capture,
            rows=(transfer,),
        ) as run:

            def after_step(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                run.end_step()
                marks.append(_mark(cuda))
                return tensors

            latents = self.pipeline(
                prompt_embeds=self.prompt,
                negative_prompt_embeds=self.negative,
                width=self.shape.width,
                height=self.shape.height,
                num_frames=self.shape.num_frames,
                num_inference_steps=self.steps,
                generator=torch.Generator("cpu").manual_seed(1),
                output_type="latent",
                callback_on_step_end=after_step,
            ).frames
        if cuda:
            torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() if cuda else 0
        timed = Timed(latents, _between(marks, cuda), peak)
        print(f"  {time.strftime('%H:%M:%S')} steps ms", [round(ms, 1) for ms in timed.step_ms])
        return timed

    def capture(self, form: Form, codec: CodecName) -> tuple[Timed, Manifest, float]:
        """A run that keeps everything, and the seconds that commit still took after it."""
        plan = CapturePlan(
            form=form,
            codec=codec,
            layers=tuple(sorted(self.layers)),
            steps=tuple(sorted(self.all_steps)),
            branches=BRANCHES,
        )
        with self.store.open_writer(
            project="bench", recipe=self._recipe(codec), plan=plan, grid=self.shape.grid
        ) as writer:
            sink = Capture(form, self.layers, self.all_steps, frozenset(BRANCHES), writer)
            timed = self.run(capture=sink)
            began = time.monotonic()
            return timed, writer.commit(), time.monotonic() - began

    def edit(self, manifest: Manifest, layers: frozenset[int] | None = None) -> Timed:
        """A run with the artifact's attention in ``layers`` (None: all)."""
        wanted = self.layers if layers is None else layers
        needed = Needed(wanted, self.all_steps, frozenset(BRANCHES))
        with self.store.open_reader(manifest, needed, self.device) as reader:
            source: MapSource = reader
            if manifest.form == "latents":
                source = RerunSource(self.tap, reader, layers=wanted)
            form: Form = "hidden" if manifest.form == "latents" else manifest.form
            return self.run(
                transfer=Transfer(
                    form, wanted, self.all_steps, frozenset(BRANCHES), lambda _: 1.0, source
                )
            )

    def drop(self, manifest: Manifest) -> None:
        """Delete the artifact: the disk holds one at a time."""
        self.objects.delete(manifest.key)
        self.objects.delete_prefix(manifest.folder + "/")

    def forget_host(self) -> None:
        """Empty the host tier, so that the next edit reads the folder."""
        self.store = ArtifactStore(self.objects, self.store.settings)

    def _recipe(self, prompt: str) -> Recipe:
        shape = self.shape
        return Recipe(
            generation=Generation(
                model="wan",
                fingerprint="0" * 64,
                prompt=prompt,
                negative_prompt="",
                seed=1,
                width=shape.width,
                height=shape.height,
                num_frames=shape.num_frames,
                num_inference_steps=self.steps,
                guidance_scale=5.0,
                fps=16,
            )
        )


def _mark(cuda: bool) -> Any:
    if not cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's
    event.record()
    return event


def _between(marks: list[Any], cuda: bool) -> tuple[float, ...]:
    pairs = itertools.pairwise(marks)
    return tuple(a.elapsed_time(b) if cuda else 1000 * (b - a) for a, b in pairs)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="retake-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(bench: Bench, name: str) -> tuple[list[list[Cell]], dict[str, object]]:
    """All variants of one model: table rows and figures."""
    bench.run()  # warm-up: kernels, allocator
    plain = bench.run()
    runs: dict[str, Timed] = {}
    waits: dict[str, float] = {}
    stored: dict[str, int] = {}
    bench.drop(bench.capture("hidden", "int8")[1])  # warm-up: pinned memory
    codecs: tuple[CodecName, ...] = ("int8", "zipnn", "raw")
    for codec in codecs:
        label = f"capture {codec}"
        runs[label], manifest, waits[label] = bench.capture("hidden", codec)
        stored[label] = manifest.stored_bytes
        bench.forget_host()
        runs[f"edit from disk, {codec}"] = bench.edit(manifest)
        if codec == "raw":
            runs["edit from host memory"] = bench.edit(manifest)
        bench.drop(manifest)
    runs["capture latents"], latents, waits["capture latents"] = bench.capture("latents", "zipnn")
    runs["edit from latents, all layers"] = bench.edit(latents)
    first = frozenset(range(max(1, len(bench.layers) // 8)))
    runs[f"edit from latents, first {len(first)} layers"] = bench.edit(latents, first)
    again = bench.run()

    base = statistics.median(plain.step_ms + again.step_ms)
    rows: list[list[Cell]] = []
    for label, timed in {"plain": plain, **runs, "plain again": again}.items():
        ms = statistics.median(timed.step_ms)
        extra = (timed.peak_bytes - plain.peak_bytes) / GiB
        size = stored.get(label)
        rows.append([name, label, ms, ms / base, extra, waits.get(label), size and size / GiB])
    figures: dict[str, object] = {
        label.replace(",", "").replace(" ", "_"): round(statistics.median(timed.step_ms) / base, 4)
        for label, timed in runs.items()
    }
    whole = ("edit from disk, raw", "edit from host memory", "edit from disk, zipnn")
    figures["self_transfer_max_diff"] = max(
        float((runs[label].latents - plain.latents).abs().max())
        for label in (*whole, "edit from latents, all layers")
    )
    figures["peak_extra_gib"] = round(
        max(timed.peak_bytes - plain.peak_bytes for timed in runs.values()) / GiB, 3
    )
    figures["plain_step_ms"] = round(base, 2)
    figures["plain_spread"] = round(
        (max(plain.step_ms + again.step_ms) - min(plain.step_ms + again.step_ms)) / base, 4
    )
    return rows, figures


def measure_backends(
    bench: Bench, names: tuple[str, ...]
) -> tuple[list[list[Cell]], dict[str, object]]:
    """Plain and self-edit steps under each attention backend that runs here."""
    rows: list[list[Cell]] = []
    figures: dict[str, object] = {}
    for name in names:
        try:
            bench.pipeline.transformer.set_attention_backend(name)
            plain = statistics.median(bench.run().step_ms)
        except (RuntimeError, ValueError, ImportError) as error:
            rows.append([name, f"not here: {type(error).__name__}", None])
            continue
        rows.append([name, "plain", plain])
        figures[f"{name}_step_ms"] = round(plain, 2)
    bench.pipeline.transformer.reset_attention_backend()
    return rows, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where artifacts are written")
    args = parser.parse_args()
    device = "cpu" if args.tiny else "cuda"
    shapes = {"tiny": TINY} if args.tiny else {"1.3B": WAN_1_3B, "14B, 4 layers": WAN_14B_PART}
    ceilings = Ceilings.measure(device)
    figures: dict[str, object] = {"ceilings": ceilings.figures()}
    table: list[list[Cell]] = []
    for name, shape in shapes.items():
        with _scratch(args.folder) as folder:
            bench = Bench(shape, device, args.steps, folder)
            rows, found = measure(bench, name)
            flops = 2 * step_flops(shape.layers, shape.dim, shape.ffn_dim, shape.tokens)
            found["plain_tflops"] = round(flops / float(str(found["plain_step_ms"])) / 1e9, 1)
            table += rows
            if name in ("1.3B", "tiny"):
                backends, times = measure_backends(bench, BACKENDS)
                print_table(["backend", "run", "step ms"], backends)
                found |= times
            figures[name] = found
            del bench
            gc.collect()  # modules and hooks refer to each other
            torch.cuda.empty_cache()
    header = ["model", "run", "step ms", "of plain", "extra GiB", "commit s", "stored GiB"]
    print_table(header, table)
    print_figures({"bench": "gpu", "device": ceilings.device, **figures})


if __name__ == "__main__":
    main()
