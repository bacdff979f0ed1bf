"""Tiny pipelines of the families with attention over video alone, each on a VAE of its own."""

from typing import Any

from tests.tiny import louder, parts
from tests.workers.families.parts import (
    WIDTH,
    AllowsAll,
    clip,
    flow,
    hunyuan_vae,
    lively,
    qwen25_vl,
    t5,
    text,
    tokenizer,
    vocab_size,
    with_statistics,
)


def mochi() -> Any:
    transformer = parts.MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=WIDTH,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
    )
    vae = parts.AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return parts.MochiPipeline(
        scheduler=flow(),
        vae=vae,
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=lively(transformer),
    )


def ltx() -> Any:
    transformer = parts.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=WIDTH,
    )
    vae = parts.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        encoder_causal=True,
        decoder_causal=False,
    )
    return parts.LTXPipeline(
        scheduler=flow(),
        vae=with_statistics(vae),
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=lively(transformer, text_gain=10),
    )


def kandinsky5() -> Any:
    """As published: a first frame and a mask stand beside the noise."""
    transformer = parts.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=WIDTH,
        in_text_dim2=WIDTH,
        time_dim=16,
        model_dim=24,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 4, 4),
        visual_cond=True,
    )
    return parts.Kandinsky5T2VPipeline(
        transformer=lively(transformer, text_gain=10),
        vae=hunyuan_vae(),
        text_encoder=qwen25_vl(),
        tokenizer=tokenizer(),
        text_encoder_2=clip(),
        tokenizer_2=tokenizer(),
        scheduler=flow(shift=7.0),
    )


def allegro() -> Any:
    transformer = parts.AllegroTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        cross_attention_dim=24,
        sample_width=8,
        sample_height=8,
        sample_frames=8,
        caption_channels=WIDTH,
    )
    vae = parts.AutoencoderKLAllegro(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=128,  # of its tiles
    ).eval()  # as loading leaves it: it has dropout
    return parts.AllegroPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=vae,
        transformer=lively(transformer, text_gain=30),
        scheduler=parts.DDIMScheduler(),
    )


def latte() -> Any:
    transformer = parts.LatteTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        attention_bias=True,
        sample_size=4,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        video_length=4,
    )
    return parts.LattePipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=parts.AutoencoderKL(latent_channels=4, block_out_channels=(32,)),
        transformer=lively(transformer, text_gain=10),
        scheduler=parts.DDIMScheduler(),
    )


def cosmos() -> Any:
    transformer = parts.CosmosTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2,
        text_embed_dim=WIDTH,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        concat_padding_mask=False,  # resizing the mask would need torchvision
    )
    vae = parts.AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=2,
        patch_size=4,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    )
    return parts.CosmosTextToWorldPipeline(
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=lively(transformer, text_gain=10),
        vae=vae,
        scheduler=parts.EDMEulerScheduler(sigma_data=0.5, final_sigmas_type="zero"),
        safety_checker=AllowsAll(),
    )


def ltx2() -> Any:
    size = vocab_size()
    config = text.Gemma3Config(
        text_config={
            "vocab_size": size,
            "hidden_size": WIDTH,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
        },
        mm_tokens_per_image=4,
        image_token_index=1,
        boi_token_index=1,
        eoi_token_index=1,
    )
    connectors = parts.pipelines.ltx2.LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=4,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=4,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        connector_rope_base_seq_len=32,
        rope_double_precision=False,
        rope_type="split",
    )
    transformer = parts.LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=WIDTH,
        rope_double_precision=False,
        rope_type="split",
    )
    vae = parts.AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatiotemporal",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
    )
    audio_vae = parts.AutoencoderKLLTX2Audio(
        base_channels=4,
        output_channels=2,
        ch_mult=(1,),
        num_res_blocks=1,
        attn_resolutions=None,
        in_channels=2,
        resolution=32,
        latent_channels=2,
        mid_block_add_attention=False,
        mel_bins=8,
    )
    return parts.LTX2Pipeline(
        scheduler=flow(),
        vae=with_statistics(vae),
        audio_vae=audio_vae,
        text_encoder=louder(text.Gemma3ForConditionalGeneration(config).eval()),
        tokenizer=tokenizer(),
        connectors=connectors,
        transformer=lively(transformer, text_gain=10),
        vocoder=parts.pipelines.ltx2.vocoder.LTX2Vocoder(
            in_channels=16,
            hidden_channels=32,
            out_channels=2,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
        ),
    )
