"""Tiny pipelines of the families that attend over text and video together."""

from typing import Any

from tests.tiny import louder, parts
from tests.workers.families.parts import (
    WIDTH,
    clip,
    flow,
    hunyuan_vae,
    lively,
    llama,
    qwen2_vl,
    qwen_text,
    t5,
    text,
    tokenizer,
)


def hunyuan_video(in_channels: int = 4, **options: Any) -> Any:
    transformer = parts.HunyuanVideoTransformer3DModel(
        in_channels=in_channels,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=2,
        num_refiner_layers=1,
        text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        rope_axes_dim=(2, 4, 4),
        **options,
    )
    return parts.HunyuanVideoPipeline(
        text_encoder=llama(),
        tokenizer=tokenizer(),
        text_encoder_2=clip(),
        tokenizer_2=tokenizer(),
        transformer=lively(transformer),
        vae=hunyuan_vae(),
        scheduler=flow(shift=7.0),
    )


def hunyuan_video15(task_type: str = "t2v", **options: Any) -> Any:
    transformer = parts.HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        image_embed_dim=12,
        rope_axes_dim=(2, 2, 4),
        target_size=16,
        task_type=task_type,
        **options,
    )
    vae = parts.AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=2,
        downsample_match_channel=False,
        upsample_match_channel=False,
    )
    config = text.Qwen2_5_VLTextConfig(**qwen_text())
    pipeline = parts.HunyuanVideo15Pipeline(
        text_encoder=louder(text.Qwen2_5_VLTextModel(config).eval()),
        tokenizer=tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=text.ByT5Tokenizer(),
        transformer=lively(transformer),
        vae=vae,
        scheduler=flow(shift=7.0),
        guider=parts.guiders.ClassifierFreeGuidance(),
    )
    pipeline.tokenizer_max_length = 200  # of 1000: its masks are as large as its maps
    return pipeline


def _cogvideox(kind: Any = parts.CogVideoXPipeline, in_channels: int = 4, **options: Any) -> Any:
    transformer = parts.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=in_channels,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        use_rotary_positional_embeddings=True,
        **options,
    )
    vae = parts.AutoencoderKLCogVideoX(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
    )
    return kind(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=vae,
        transformer=lively(transformer),
        scheduler=parts.CogVideoXDDIMScheduler(),
    )


def cogvideox() -> Any:
    return _cogvideox()


def cogvideox15() -> Any:
    """Two latent frames to a token: an odd number of them is padded."""
    return _cogvideox(patch_size_t=2, patch_bias=False)


def cogvideox_i2v() -> Any:
    return _cogvideox(parts.CogVideoXImageToVideoPipeline, 8)


def cogvideox15_i2v() -> Any:
    kind = parts.CogVideoXImageToVideoPipeline
    return _cogvideox(kind, 8, patch_size_t=2, patch_bias=False, ofs_embed_dim=8)


def easyanimate() -> Any:
    transformer = parts.EasyAnimateTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=3,
        mmdit_layers=1,
        patch_size=2,
        sample_width=16,
        sample_height=16,
    )
    vae = parts.AutoencoderKLMagvit(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("SpatialDownBlock3D", *("SpatialTemporalDownBlock3D",) * 3),
        up_block_types=("SpatialUpBlock3D", *("SpatialTemporalUpBlock3D",) * 3),
        layers_per_block=1,
        norm_num_groups=2,
        spatial_group_norm=False,
    )
    return parts.EasyAnimatePipeline(
        vae=vae,
        text_encoder=qwen2_vl(),
        tokenizer=tokenizer(),
        transformer=lively(transformer),
        scheduler=flow(),
    )
