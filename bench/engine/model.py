"""The runs that ``bench.engine`` compares: a model of any size, timed step to step."""

import argparse
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from schemas.attention import Anchor, CaptureSpec, Form, TransferSpec
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

SCENES = Path(__file__).parents[2] / "models" / "scenes"
parts: Any = diffusers  # untyped


class Denoised(Exception):
    """Raised behind the last step: decoding is not what is measured."""


@dataclass
class Timed:
    seconds: float
    cpu_seconds: float
    passes: float
    latents: Tensor


def build(args: argparse.Namespace) -> LoadedModel:
    """The bundled pipeline around a transformer of the wanted size, for a square video."""
    return build_model(args.width, args.layers, args.steps, (args.size, args.size))


def build_model(
    width: int, layers: int, steps: int, size: tuple[int, int], frames: int = 17
) -> LoadedModel:
    """As ``build``; ``width`` of the transformer, ``size`` of the video in pixels."""
    torch.manual_seed(0)
    pipeline: Any = parts.WanPipeline.from_pretrained(SCENES)
    small = pipeline.transformer.config
    pipeline.transformer = parts.WanTransformer3DModel(
        num_attention_heads=width // 128,
        attention_head_dim=128,
        in_channels=small.in_channels,
        out_channels=small.out_channels,
        text_dim=small.text_dim,
        ffn_dim=width * 4,
        num_layers=layers,
    )
    pipeline.to(torch.bfloat16)
    settings = ModelSettings(
        id="bench",
        path=str(SCENES),
        defaults=CardDefaults(
            width=size[0],
            height=size[1],
            num_frames=frames,
            max_width=size[0],
            max_height=size[1],
            max_frames=frames,
            num_inference_steps=steps,
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
        self.source = self.source_of(card.num_inference_steps.default)
        self.grid = card.grid.tokens(width, height, card.num_frames.default)
        self.plan: CapturePlan = resolve_capture(CaptureSpec(scope="everything"), card, self.source)
        pack = min(32 * MiB, pool_bytes // 16)
        self.artifacts = ArtifactStore(
            FolderStore(folder),
            ArtifactSettings(
                pool_bytes=pool_bytes, pack_bytes=pack, frame_bytes=pack, host_cache_bytes=0,
                window_bytes=pool_bytes,
            ),
        )  # fmt: skip
        self.memory = MemoryMaps()

    def source_of(self, steps: int) -> Recipe:
        card = self.model.card
        width, height = (int(side) for side in card.default_size.split("x"))
        return Recipe(
            generation=Generation(
                model=card.id,
                fingerprint=card.fingerprint,
                prompt="A car is driving on the highway.",
                negative_prompt="",
                seed=0,
                width=width,
                height=height,
                num_frames=card.num_frames.default,
                num_inference_steps=steps,
                guidance_scale=5.0,
                fps=8,
            )
        )

    def edit(self, prompt: str) -> Recipe:
        """The paper's own way: a second generation with the source's maps."""
        return edit_of(self.source, prompt, None)

    def held(self, source: MapSource, form: Form = "hidden") -> StoredAttention:
        """What was kept of the source, in ``form``."""
        return StoredAttention(self.plan.model_copy(update={"form": form}), source)

    def timed(
        self,
        recipe: Recipe,
        *,
        stored: StoredAttention | None = None,
        capture: Capture | None = None,
    ) -> Timed:
        """Seconds from the call to the end of the last step, and its latents."""
        seen: list[Timed] = []
        started, cpu_started = time.monotonic(), time.process_time()

        def after_step(info: StepInfo) -> None:
            if info.own and info.step + 1 == info.total:
                if info.latents.is_cuda:
                    torch.cuda.synchronize()
                seconds, cpu = time.monotonic() - started, time.process_time() - cpu_started
                run = self.model.hooks.current
                assert run is not None
                seen.append(Timed(seconds, cpu, run.passes, info.latents[-1].clone()))
                raise Denoised

        with suppress(Denoised):
            generate(
                self.model,
                resolve_recipe(recipe, self.model.card),
                stored=stored,
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
            return self.timed(recipe, stored=self.held(reader))


def edit_of(source: Recipe, prompt: str, anchor: Anchor | None) -> Recipe:
    generation = source.generation.model_copy(update={"prompt": prompt})
    return Recipe(generation=generation, source=source, transfer=TransferSpec(anchor=anchor))
