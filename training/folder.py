"""The model folder: a WanPipeline put together, saved and loaded in diffusers' own format.

Owns the scheduler's settings and the type that weights are saved in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from training.stock import Network, Pipeline, Tokenizer, UniPCMultistepScheduler, WanPipeline

FLOW_SHIFT = 3.0


def build_scheduler(shift: float = FLOW_SHIFT) -> Any:
    """The scheduler of Wan2.1's own folder, with this model's shift."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        num_train_timesteps=1000,
        flow_shift=shift,
    )


def assemble(
    vae: Network,
    transformer: Network,
    text_encoder: Network,
    tokenizer: Tokenizer,
    shift: float = FLOW_SHIFT,
) -> Pipeline:
    """The pipeline of these parts."""
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        scheduler=build_scheduler(shift),
        transformer=transformer,
    )


def save(pipeline: Pipeline, folder: Path) -> None:
    """Write the folder, weights in bfloat16; the pipeline itself is left as it was."""
    parts = (pipeline.vae, pipeline.transformer, pipeline.text_encoder)
    kept = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    for part in parts:
        for weight in part.parameters():
            weight.data = weight.data.to(torch.bfloat16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for part, state in zip(parts, kept, strict=True):
        for name, weight in part.named_parameters():
            weight.data = state[name]
