"""One model of Wan's exact transformer on one device, with an artifact store on local disk.

What ``bench.gpu`` times: plain runs, captures, and edits, all of the stock WanPipeline from prompt
embeddings to latents (neither text encoder nor VAE take part in a denoising step).
"""

import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.artifacts import Manifest
from schemas.attention import Branch, CodecName, Form
from schemas.capture_plan import TENSOR_NAMES, CapturePlan, Needed
from schemas.recipes import Generation, Recipe
from schemas.selection import ResolvedTransfer
from storage.objects.folder import FolderStore
from training.stock import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.attention_hooks import AttentionHooks
from workers.attention.maps import MapSource
from workers.attention.recomputed_source import RecomputedSource
from workers.attention.transfer import Capture, Transfer
from workers.families.wan import WAN

BRANCHES: tuple[Branch, ...] = ("cond", "uncond")
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
    """One run: its latents, the time of each step but the first, the peak of device memory.

    ``after_s``: what committing a capture took behind the last step.
    """

    latents: Tensor
    step_ms: tuple[float, ...]
    peak_bytes: int
    after_s: float | None = None

    @property
    def median_ms(self) -> float:
        return statistics.median(self.step_ms)


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
        self.hooks = AttentionHooks(self.pipeline, WAN)
        self.objects = FolderStore(folder)
        self.store = ArtifactStore(self.objects, self._settings())
        self.layers, self.all_steps = frozenset(range(shape.layers)), frozenset(range(steps))

    def raw_bytes(self, form: Form) -> int:
        """Of all hidden states of a run, or all its queries and keys."""
        tensors = len(BRANCHES) * self.shape.layers * self.steps * len(TENSOR_NAMES[form])
        return tensors * self.shape.tokens * self.shape.dim * 2

    def _settings(self, device_cache_bytes: int = 0) -> ArtifactSettings:
        """For half of 16 cores, and a host tier that holds the largest artifact."""
        cuda = self.device.type == "cuda"
        return ArtifactSettings(
            pool_bytes=4 * GiB if cuda else GiB,
            window_bytes=2 * GiB if cuda else GiB,
            encode_threads=8 if cuda else 2,
            upload_threads=8 if cuda else 2,
            fetch_threads=4 if cuda else 2,
            decode_threads=8 if cuda else 2,
            host_cache_bytes=self.raw_bytes("qk") + GiB,
            device_cache_bytes=device_cache_bytes,
        )

    def compile(self) -> None:
        """Compile the blocks, our hooks in them; for good.

        As ``AttentionHooks.compile`` does, but it raises where a block is not one graph.
        """
        self.pipeline.transformer.compile_repeated_blocks(fullgraph=True)

    def stock(self, steps: int | None = None) -> Timed:
        """A plain run of diffusers alone: no hook does anything. ``steps``: None for all."""
        return self._time(self.steps if steps is None else steps, lambda: None)

    def run(self, capture: Capture | None = None, transfer: Transfer | None = None) -> Timed:
        """A run as the product makes it, from the same noise."""
        with self.hooks.run(
            total_steps=self.steps,
            branches=BRANCHES,
            tokens=self.shape.tokens,
            capture=capture,
            transfers=(transfer,),
        ) as run:
            return self._time(self.steps, run.end_step)

    def _time(self, steps: int, end_step: Callable[[], None]) -> Timed:
        cuda = self.device.type == "cuda"
        marks: list[Any] = []
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

        def after_step(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            end_step()
            marks.append(_mark(cuda))
            return tensors

        latents = self.pipeline(
            prompt_embeds=self.prompt,
            negative_prompt_embeds=self.negative,
            width=self.shape.width,
            height=self.shape.height,
            num_frames=self.shape.num_frames,
            num_inference_steps=steps,
            generator=torch.Generator("cpu").manual_seed(1),
            output_type="latent",
            callback_on_step_end=after_step,
        ).frames
        if cuda:
            torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() if cuda else 0
        return Timed(latents, _between(marks, cuda), peak)

    def capture(self, form: Form, codec: CodecName) -> tuple[Timed, Manifest]:
        """A run that keeps everything."""
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
            timed = self.run(capture=Capture(plan, writer))
            began = time.monotonic()
            manifest = writer.commit()
        return replace(timed, after_s=time.monotonic() - began), manifest

    def edit(self, manifest: Manifest, layers: frozenset[int] | None = None) -> Timed:
        """A run with the artifact's attention in ``layers`` (None: all)."""
        wanted = self.layers if layers is None else layers
        needed = Needed(wanted, self.all_steps, frozenset(BRANCHES))
        with ExitStack() as stack:
            source: MapSource = stack.enter_context(
                self.store.open_reader(manifest, needed, self.device)
            )
            if manifest.form == "latents":
                source = stack.enter_context(RecomputedSource(self.hooks, source, layers=wanted))
            form: Form = "qk" if manifest.form == "qk" else "hidden"
            return self.run(transfer=Transfer(self._everything(wanted), form, source))

    def _everything(self, layers: frozenset[int]) -> ResolvedTransfer:
        return ResolvedTransfer(
            layers=tuple(sorted(layers)),
            steps=tuple(sorted(self.all_steps)),
            branches=BRANCHES,
            heads=None,
            source_branch="own",
            strength=1.0,
            strength_end=None,
        )

    def drop(self, manifest: Manifest) -> None:
        """Delete the artifact: the disk holds one at a time."""
        self.objects.delete(manifest.key)
        self.objects.delete_prefix(manifest.folder + "/")

    def empty_tiers(self, *, device_cache_bytes: int = 0) -> None:
        """The next edit reads the folder. ``device_cache_bytes``: the tier on the device."""
        self.store = ArtifactStore(self.objects, self._settings(device_cache_bytes))

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
