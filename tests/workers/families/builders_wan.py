"""Tiny pipelines of the families on Wan's VAE and a T5 text encoder."""

from typing import Any

from tests import tiny
from tests.tiny import parts
from tests.workers.families.parts import (
    SIGLIP,
    WIDTH,
    flow,
    lively,
    t5,
    text,
    tokenizer,
    vocab_size,
)

WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": WIDTH,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
}


def wan() -> Any:
    return tiny.wan()


def wan_a14b() -> Any:
    """Two experts: the second takes over below the boundary."""
    pipeline = tiny.wan()
    pipeline.register_modules(transformer_2=tiny.wan_transformer())
    pipeline.register_to_config(boundary_ratio=0.8)
    return pipeline


def wan_i2v() -> Any:
    return tiny.wan_i2v()


def wan_i2v_a14b() -> Any:
    """Two experts, and no CLIP."""
    pipeline = tiny.wan_i2v()
    experts = [tiny.wan_transformer(in_channels=36, out_channels=16) for _ in range(2)]
    pipeline.register_modules(
        transformer=experts[0],
        transformer_2=experts[1],
        image_encoder=None,
        image_processor=None,
    )
    pipeline.register_to_config(boundary_ratio=0.8)
    return pipeline


def wan_ti2v() -> Any:
    """The picture is the first latent frame itself, whose tokens are at time 0."""
    return parts.WanImageToVideoPipeline(**tiny.wan().components, expand_timesteps=True)


def skyreels_v2() -> Any:
    return parts.SkyReelsV2Pipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny.wan_vae(),
        scheduler=tiny.wan().scheduler,
        transformer=lively(parts.SkyReelsV2Transformer3DModel(**WAN), text_gain=30),
    )


def skyreels_v2_df() -> Any:
    """As published: told whether it makes 16 frames a second."""
    config = {**WAN, "inject_sample_info": True}
    transformer = lively(parts.SkyReelsV2Transformer3DModel(**config), text_gain=30)
    components = {**skyreels_v2().components, "transformer": transformer}
    return parts.SkyReelsV2DiffusionForcingPipeline(**components)


def skyreels_v2_df_i2v() -> Any:
    kind = parts.SkyReelsV2DiffusionForcingImageToVideoPipeline
    return kind(**skyreels_v2_df().components)


def skyreels_v2_i2v() -> Any:
    config = {**WAN, "in_channels": 36, "out_channels": 16, "image_dim": 16}
    transformer = parts.SkyReelsV2Transformer3DModel(**config, added_kv_proj_dim=24)
    return parts.SkyReelsV2ImageToVideoPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        image_encoder=tiny.clip_vision(),
        image_processor=tiny.clip_processor(),
        vae=tiny.wan_vae(),
        scheduler=tiny.wan().scheduler,
        transformer=lively(transformer, text_gain=30),
    )


def anyflow() -> Any:
    return parts.AnyFlowPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny.wan_vae(),
        scheduler=parts.FlowMapEulerDiscreteScheduler(),
        transformer=lively(parts.AnyFlowTransformer3DModel(**WAN), text_gain=30),
    )


def helios() -> Any:
    transformer = parts.HeliosTransformer3DModel(
        **WAN,
        rope_dim=(4, 4, 4),
        has_multi_term_memory_patch=True,
        guidance_cross_attn=True,
        zero_history_timestep=True,
        is_amplify_history=False,
    )
    return parts.HeliosPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny.wan_vae(),
        scheduler=parts.HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True),
        transformer=lively(transformer, text_gain=30),
    )


def motif_video(**options: Any) -> Any:
    config = text.T5Gemma2TextConfig(
        vocab_size=vocab_size(),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=16,
        dropout_rate=0.0,
    )
    transformer = parts.MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=2,
        patch_size=1,
        patch_size_t=1,
        text_embed_dim=WIDTH,
        rope_axes_dim=(4, 4, 4),
        **options,
    )
    both = text.T5Gemma2EncoderConfig(
        text_config=config, vision_config={"model_type": "siglip_vision_model", **SIGLIP}
    )
    return parts.MotifVideoPipeline(
        tokenizer=tokenizer(),
        text_encoder=text.T5Gemma2Encoder(both).eval(),
        vae=tiny.wan_vae(),
        scheduler=flow(shift=7.0),
        transformer=lively(transformer),
        guider=parts.guiders.AdaptiveProjectedGuidance(),
    )


def sana_video() -> Any:
    config = text.Gemma2Config(
        vocab_size=vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    transformer = parts.SanaVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=WIDTH,
    )
    return parts.SanaVideoPipeline(
        tokenizer=tokenizer(),
        text_encoder=text.Gemma2Model(config).eval(),
        vae=tiny.wan_vae(),
        scheduler=parts.DPMSolverMultistepScheduler(),
        transformer=transformer,
    )
