"""Tiny random pipelines of diffusers' real classes, with a real tokenizer and text encoder.

They cost milliseconds and say nothing about quality; what they prove is exact.
"""

import string
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from PIL import Image
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from schemas.recipes import Generation, Picture, Recipe, pixels_hash
from workers.model_settings import CardDefaults, ModelSettings
from workers.models.pipelines import LoadedModel, load_model

parts: Any = diffusers  # untyped
encoders: Any = transformers  # its constructors are untyped
TEXT_DIM = 32
LAYERS, HEADS = 3, 2
WIDTH, HEIGHT, FRAMES, STEPS = 32, 32, 5, 3
DEFAULTS = CardDefaults(
    width=WIDTH,
    height=HEIGHT,
    num_frames=FRAMES,
    fps=8,
    num_inference_steps=STEPS,
    guidance_scale=4.0,
    max_width=64,
    max_height=64,
    max_frames=17,
    licence="apache-2.0",
)


def tokenizer() -> T5Tokenizer:
    """Letters only: every prompt has its own tokens."""
    table = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0)]
    table += [(letter, -4.0) for letter in string.printable if not letter.isspace()]
    return T5Tokenizer(vocab=table, extra_ids=0, model_max_length=512)


def umt5(vocab_size: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocab_size,
            d_model=TEXT_DIM,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    )


def wan_vae() -> Any:
    """The strides of Wan's own (4, 8, 8), few channels."""
    return parts.AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def wan_transformer(layers: int = LAYERS, heads: int = HEADS, **more: Any) -> Any:
    transformer = parts.WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=12,
        text_dim=TEXT_DIM,
        freq_dim=16,
        ffn_dim=32,
        num_layers=layers,
        **more,
    )
    louder(transformer)
    with torch.no_grad():
        for block in transformer.blocks:
            # five letters among 512 tokens of padding would hardly be heard
            block.attn2.to_out[0].weight.mul_(30)
            for attention in (block.attn1, block.attn2):
                attention.norm_q.weight.mul_(4)  # sharp maps, far from uniform
    return transformer


def louder(module: Any) -> Any:
    """Random weights large enough that text and maps show in the video."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim >= 2 and "table" not in name:
                weight.normal_(std=1.5 / weight[0].numel() ** 0.5)
    return module


def wan(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    tokens = tokenizer()
    return parts.WanPipeline(
        tokenizer=tokens,
        text_encoder=louder(umt5(len(tokens))),
        vae=wan_vae(),
        scheduler=parts.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=wan_transformer(),
    )


def clip_vision() -> Any:
    """Sees pictures of 16x16 pixels as four patches."""
    config = encoders.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return louder(encoders.CLIPVisionModel(config).eval())


def clip_processor() -> Any:
    side = {"height": 16, "width": 16}
    return encoders.CLIPImageProcessor(size=side, crop_size=side)


def wan_i2v(seed: int = 0) -> Any:
    """As Wan 2.1: the picture in channels of its own, and through CLIP."""
    torch.manual_seed(seed)
    tokens = tokenizer()
    transformer = wan_transformer(
        in_channels=36, out_channels=16, image_dim=16, added_kv_proj_dim=24
    )
    return parts.WanImageToVideoPipeline(
        tokenizer=tokens,
        text_encoder=louder(umt5(len(tokens))),
        image_encoder=clip_vision(),
        image_processor=clip_processor(),
        vae=wan_vae(),
        scheduler=wan(seed).scheduler,
        transformer=transformer,
    )


def painting(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of large random patches."""
    noise = torch.randint(0, 256, (4, 4, 3), generator=torch.Generator().manual_seed(seed))
    small = Image.frombytes("RGB", (4, 4), bytes(noise.flatten().tolist()))
    return small.resize((width, height), Image.Resampling.NEAREST)


def give_picture(model: LoadedModel, image: Image.Image) -> Picture:
    """The name of ``image`` in recipes, once ``model`` has it."""
    name = pixels_hash(*image.size, image.tobytes())
    model.pictures[name] = image
    return Picture(sha256=name)


def load(pipeline: Any, folder: Path, **settings: Any) -> LoadedModel:
    """``pipeline`` saved to ``folder`` and loaded as the service loads a model."""
    torch.set_num_threads(1)  # at this size threads only cost, and tests share the cores
    pipeline.save_pretrained(folder, safe_serialization=True)
    values: dict[str, Any] = {"id": "tiny", "dtype": "float32", "defaults": DEFAULTS, **settings}
    return load_model(ModelSettings(path=str(folder), **values))


def recipe(model: LoadedModel, prompt: str = "a car", **changes: Any) -> Recipe:
    """A plain generation at the model's defaults."""
    card = model.card
    width, height = (int(side) for side in card.default_size.split("x"))
    values: dict[str, Any] = {
        "model": card.id,
        "fingerprint": card.fingerprint,
        "prompt": prompt,
        "negative_prompt": "blurred",
        "seed": 7,
        "width": width,
        "height": height,
        "num_frames": card.num_frames.default,
        "num_inference_steps": card.num_inference_steps.default,
        "guidance_scale": card.guidance_scale,
        "fps": card.fps.default,
        **changes,
    }
    made = Recipe(generation=Generation(**values))
    return with_picture(model, made) if "image" in card.required_inputs else made


def with_picture(model: LoadedModel, made: Recipe) -> Recipe:
    """``made``, starting from a painting where it names no picture."""
    generation = made.generation
    if generation.picture is not None:
        return made
    picture = give_picture(model, painting(generation.width, generation.height))
    return Recipe(generation=generation.model_copy(update={"picture": picture}))
