"""Films from prompts: the ordinary WanPipeline call, many seeds at a time.

Owns the model's default settings for generation and nothing of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.scenes import FRAMES, HEIGHT, WIDTH
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
