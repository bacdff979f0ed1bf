"""Films from prompts: the ordinary WanPipeline call, many seeds at a time.

Owns the model's default settings for generation, the stages of that call for loops of our own,
and nothing of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.drawing.scenes import FRAMES, HEIGHT, WIDTH
from training.stock import Pipeline, WanPipeline


@dataclass(frozen=True)
class Settings:
    """How to generate; the defaults are the model card's."""

    num_inference_steps: int = 20
    guidance_scale: float = 2.0
    height: int = HEIGHT
    width: int = WIDTH
    num_frames: int = FRAMES


def load_pipeline(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """The pipeline of a model folder, quiet, on a device."""
    pipeline = WanPipeline.from_pretrained(folder, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def generate(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: Settings | None = None,
    batch: int = 32,
) -> Tensor:
    """One film a (prompt, seed) pair: (len(prompts), 3, T, H, W) in [0, 1] on the CPU.

    Noise is drawn on the CPU, so a seed means the same film on every device.

    Raises:
        ValueError: prompts and seeds of different lengths.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts for {len(seeds)} seeds")
    chosen = settings or Settings()
    films = []
    for low in range(0, len(prompts), batch):
        names = list(prompts[low : low + batch])
        out = pipeline(
            prompt=names,
            negative_prompt=[""] * len(names),
            height=chosen.height,
            width=chosen.width,
            num_frames=chosen.num_frames,
            num_inference_steps=chosen.num_inference_steps,
            guidance_scale=chosen.guidance_scale,
            generator=[torch.Generator().manual_seed(s) for s in seeds[low : low + batch]],
            output_type="pt",
        )
        films.append(out.frames.float().cpu().transpose(1, 2))  # (b, T, 3, H, W) to (b, 3, T, H, W)
    return torch.cat(films)


@torch.no_grad()
def encode(pipeline: Pipeline, prompts: Sequence[str]) -> Tensor:
    """Prompts as the pipeline gives them to the transformer: (len(prompts), L, D)."""
    states: Tensor = pipeline.encode_prompt(
        prompt=list(prompts), do_classifier_free_guidance=False, max_sequence_length=512
    )[0]
    return states.to(pipeline.transformer.dtype)


def draw_noise(pipeline: Pipeline, seeds: Sequence[int], settings: Settings) -> Tensor:
    """The latents that `generate` begins with: (len(seeds), C, t, h, w) float32."""
    noise: Tensor = pipeline.prepare_latents(
        len(seeds),
        pipeline.transformer.config.in_channels,
        settings.height,
        settings.width,
        settings.num_frames,
        torch.float32,
        pipeline.device,
        [torch.Generator().manual_seed(seed) for seed in seeds],
    )
    return noise


@torch.no_grad()
def decode(pipeline: Pipeline, latents: Tensor, batch: int = 32) -> Tensor:
    """Films of clean latents (B, C, t, h, w): (B, 3, T, H, W) in [0, 1] on the CPU."""
    vae = pipeline.vae
    mean, std = (
        torch.tensor(values, dtype=vae.dtype, device=latents.device).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    films = []
    for part in torch.split(latents.to(vae.dtype), batch):
        frames = vae.decode(part * std + mean, return_dict=False)[0]  # (b, 3, T, H, W)
        films.append((frames.float() / 2 + 0.5).clamp(0, 1).cpu())
    return torch.cat(films)
