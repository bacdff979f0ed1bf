"""A model folder of Wan2.1's exact configuration with random weights, in diffusers' format."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import UMT5Config
from transformers.utils.logging import disable_progress_bar

from training.folder import build_scheduler
from training.stock import (
    AutoencoderKLWan,
    UMT5EncoderModel,
    WanPipeline,
    WanTransformer3DModel,
)
from training.text import build_tokenizer

VOCABULARY = 256_384  # UMT5-XXL's rows


@dataclass(frozen=True)
class Size:
    """What a folder's parts are built with, and the video that it makes by default."""

    transformer: dict[str, int]
    text: dict[str, Any]
    vae: dict[str, Any]
    width: int = 832
    height: int = 480
    num_frames: int = 81

    @property
    def layers(self) -> int:
        return self.transformer["num_layers"]


UMT5_XXL: dict[str, Any] = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "vocab_size": VOCABULARY,
}
ONE_LAYER = {**UMT5_XXL, "num_layers": 1, "vocab_size": 1024}
SIZES = {
    "tiny": Size(
        transformer={
            "num_layers": 8,
            "num_attention_heads": 8,
            "attention_head_dim": 16,
            "ffn_dim": 128,
            "text_dim": 64,
        },
        text={
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 1,
            "num_heads": 4,
            "vocab_size": 1024,
        },
        vae={"base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
        width=64,
        height=64,
        num_frames=9,
    ),
    "1.3B": Size(
        transformer={"num_layers": 30, "num_attention_heads": 12, "ffn_dim": 8960},
        text=UMT5_XXL,
        vae={},
    ),
    "14B": Size(
        transformer={"num_layers": 40, "num_attention_heads": 40, "ffn_dim": 13824},
        text=UMT5_XXL,
        vae={},
    ),
}


def make_folder(folder: Path, size: Size, device: str, *, whole_text: bool = True) -> None:
    """Weights drawn on ``device`` and written in bfloat16. Unless ``whole_text``, the text
    encoder has one layer and a short vocabulary."""
    torch.manual_seed(0)
    text = size.text if whole_text or size.text["d_model"] != 4096 else ONE_LAYER
    config = UMT5Config(
        **text, dropout_rate=0.0, feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1
    )
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers'
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            parts = (
                WanTransformer3DModel(**size.transformer),
                UMT5EncoderModel(config),
                AutoencoderKLWan(**size.vae),
            )
    finally:
        torch.set_default_dtype(default)
    transformer, text_encoder, vae = (part.eval() for part in parts)
    WanPipeline(
        tokenizer=build_tokenizer(),
        text_encoder=text_encoder,
        vae=vae,
        scheduler=build_scheduler(),
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)
    defaults = {"width": size.width, "height": size.height, "num_frames": size.num_frames}
    (folder / "retake.json").write_text(json.dumps({**defaults, "licence": "apache-2.0"}))
    del transformer, text_encoder, vae, parts
    if device == "cuda":
        torch.cuda.empty_cache()  # the service needs it
