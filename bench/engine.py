"""What capture and transfer cost: denoising with them over denoising without, in one run.

    python -m bench.engine

A Wan transformer of random weights in the bundled model's pipeline, bfloat16. Each round runs a
plain generation, one that is captured into a folder store with the writer's threads beside it,
one edited from memory, and one edited from the store, one after the other in a turning order; the
ratios are medians over pairs of one round. Beside wall time stands the CPU time of all threads,
which other work on the machine does not change. Memory is the peak of a process of its own, at a
size where the artifact weighs as much as the process: few tokens, many layers and steps.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from bench.report import median_ratio, print_figures, print_table
from schemas.attention import CaptureSpec, Form, TransferSpec
from schemas.capture_plan import CapturePlan
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe, resolve_transfer
from storage.objects.folder import FolderStore
from workers.artifacts.settings import ArtifactSettings, MiB
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import MapSource, MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.registry import FAMILIES
from workers.generation.denoise import StepInfo
from workers.generation.generate import generate
from workers.model_settings import CardDefaults, ModelSettings
from workers.models.pipelines import LoadedModel, prepare

SCENES = Path(__file__).parent.parent / "models" / "scenes"
PEAK = {"width": 768, "layers": 16, "size": 128, "steps": 60}
KINDS = ("plain", "capture", "edit", "edit_from_store")
parts: Any = diffusers  # untyped


class Denoised(Exception):
    """Raised behind the last step: decoding is not what is measured."""


@dataclass
class Timed:
    seconds: float
    cpu_seconds: float
    latents: Tensor


def build(args: argparse.Namespace) -> LoadedModel:
    """The bundled pipeline around a transformer of the wanted size."""
    torch.manual_seed(0)
    pipeline: Any = parts.WanPipeline.from_pretrained(SCENES)
    small = pipeline.transformer.config
    pipeline.transformer = parts.WanTransformer3DModel(
        num_attention_heads=args.width // 128,
        attention_head_dim=128,
        in_channels=small.in_channels,
        out_channels=small.out_channels,
        text_dim=small.text_dim,
        ffn_dim=args.width * 4,
        num_layers=args.layers,
    )
    pipeline.to(torch.bfloat16)
    settings = ModelSettings(
        id="bench",
        path=str(SCENES),
        defaults=CardDefaults(
            width=args.size,
            height=args.size,
            num_frames=17,
            num_inference_steps=args.steps,
            presets={},  # those of the folder name layers of its own transformer
        ),
    )
    return prepare(pipeline, FAMILIES["WanPipeline"], settings, SCENES)


class Bench:
    """The runs that are compared. ``artifacts``: where captures go, with a bounded pool."""

    def __init__(self, model: LoadedModel, folder: Path, pool_bytes: int) -> None:
        self.model = model
        card = model.card
        width, height = (int(side) for side in card.default_size.split("x"))
        self.source = Recipe(
            generation=Generation(
                model=card.id,
                fingerprint=card.fingerprint,
                prompt="A car is driving on the highway.",
                negative_prompt="",
                seed=0,
                width=width,
                height=height,
                num_frames=card.num_frames.default,
                num_inference_steps=card.num_inference_steps.default,
                guidance_scale=5.0,
                fps=8,
            )
        )
        self.grid = card.grid.tokens(width, height, card.num_frames.default)
        self.plan: CapturePlan = resolve_capture(CaptureSpec(), card, self.source)
        pack = min(32 * MiB, pool_bytes // 16)
        self.artifacts = ArtifactStore(
            FolderStore(folder),
            ArtifactSettings(
                pool_bytes=pool_bytes, pack_bytes=pack, frame_bytes=pack, host_cache_bytes=0,
                window_bytes=pool_bytes,
            ),
        )  # fmt: skip
        self.memory = MemoryMaps()

    def edit(self, prompt: str) -> Recipe:
        generation = self.source.generation.model_copy(update={"prompt": prompt})
        return Recipe(generation=generation, source=self.source, transfer=TransferSpec())

    def timed(
        self,
        recipe: Recipe,
        *,
        source: MapSource | None = None,
        form: Form = "hidden",
        capture: Capture | None = None,
    ) -> Timed:
        """Seconds from the call to the end of the last step, and its latents."""
        seen: list[Timed] = []
        started, cpu_started = time.monotonic(), time.process_time()

        def after_step(info: StepInfo) -> None:
            if info.step + 1 == info.total:
                seconds, cpu = time.monotonic() - started, time.process_time() - cpu_started
                seen.append(Timed(seconds, cpu, info.latents[-1].clone()))
                raise Denoised

        held = self.plan.model_copy(update={"form": form})
        with suppress(Denoised):
            generate(
                self.model,
                resolve_recipe(recipe, self.model.card),
                stored=StoredAttention(held, source) if source else None,
                capture=capture,
                on_step=after_step,
            )
        return seen[0]

    def captured(self) -> tuple[Timed, Any]:
        """A plain run, kept through the writer; its manifest, after the clock has stopped."""
        writer = self.artifacts.open_writer(
            project="bench", recipe=self.source, plan=self.plan, grid=self.grid
        )
        timed = self.timed(self.source, capture=Capture(self.plan, writer))
        return timed, writer.commit()

    def from_store(self, manifest: Any, recipe: Recipe) -> Timed:
        needed = resolve_transfer(TransferSpec(), self.model.card, recipe.generation).needed()
        with self.artifacts.open_reader(manifest, needed, torch.device("cpu")) as reader:
            return self.timed(recipe, source=reader)


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    """Warm up once, then ``rounds`` of all kinds; seconds by kind and the exactness."""
    keep = Capture(bench.plan, bench.memory)
    plain = bench.timed(bench.source, capture=keep)
    edit = bench.edit("A red car is driving on the highway.")
    _, manifest = bench.captured()
    runs: dict[str, Callable[[], Timed]] = {
        "plain": lambda: bench.timed(bench.source),
        "capture": lambda: bench.captured()[0],
        "edit": lambda: bench.timed(edit, source=bench.memory),
        "edit_from_store": lambda: bench.from_store(manifest, edit),
    }
    timed: dict[str, list[Timed]] = {kind: [] for kind in KINDS}
    for turn in range(rounds):
        for kind in KINDS[turn % 4 :] + KINDS[: turn % 4]:
            timed[kind].append(runs[kind]())
    again = bench.timed(bench.edit(bench.source.generation.prompt), source=bench.memory)
    stored = bench.from_store(manifest, bench.edit(bench.source.generation.prompt))
    return {
        "seconds": {kind: [run.seconds for run in timed[kind]] for kind in KINDS},
        "cpu_seconds": {kind: [run.cpu_seconds for run in timed[kind]] for kind in KINDS},
        "self_transfer_max_diff": float((again.latents - plain.latents).abs().max()),
        "self_transfer_from_store_max_diff": float((stored.latents - plain.latents).abs().max()),
        "artifact_bytes": bench.memory.size_bytes,
    }


def artifact_bytes(width: int, layers: int, size: int, steps: int) -> int:
    """Of all hidden states in bf16: two branches, 17 frames of ``size`` pixels a side."""
    return layers * 2 * steps * 5 * (size // 16) ** 2 * width * 2


def peak_rss(kind: str) -> int:
    """The peak resident bytes of a process that does one run of ``kind`` at ``PEAK``."""
    command = [sys.executable, "-m", "bench.engine", "--peak", kind]
    command += [f"--{name}={value}" for name, value in PEAK.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak_rss"])


def run_peak(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(args), Path(folder), artifact_bytes(**PEAK) // 4)
        if args.peak == "capture":
            bench.captured()
        else:
            bench.timed(bench.source)
    print(json.dumps({"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=("plain", "capture"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        run_peak(args)
        return
    model = build(args)
    tokens = model.card.grid.tokens(args.size, args.size, 17)
    n = tokens[0] * tokens[1] * tokens[2]
    pool_bytes = artifact_bytes(args.width, args.layers, args.size, args.steps) // 4
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Bench(model, Path(folder), pool_bytes), args.rounds)
    peaks = {kind: peak_rss(kind) for kind in ("plain", "capture")}
    report(found, peaks, {"tokens": n, "peak_artifact_bytes": artifact_bytes(**PEAK)})


def report(found: dict[str, Any], peaks: dict[str, int], more: dict[str, Any]) -> None:
    seconds, cpu = found.pop("seconds"), found.pop("cpu_seconds")
    wall = {kind: median_ratio(seconds[kind], seconds["plain"]) for kind in KINDS}
    work = {kind: median_ratio(cpu[kind], cpu["plain"]) for kind in KINDS}
    rows = [
        (kind, statistics.median(seconds[kind]), wall[kind], work[kind], _mib(peaks.get(kind)))
        for kind in KINDS
    ]
    print_table(("run", "median s", "over plain", "CPU over plain", "peak MiB"), rows)
    figures: dict[str, Any] = {f"{kind}_over_plain": wall[kind] for kind in KINDS[1:]}
    figures |= {f"{kind}_cpu_over_plain": work[kind] for kind in KINDS[1:]}
    figures |= {"peak_rss_over_plain": peaks["capture"] / peaks["plain"]}
    print_figures(figures | found | more | {"rounds": len(seconds["plain"])})


def _mib(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // MiB


if __name__ == "__main__":
    main()
