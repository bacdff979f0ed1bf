"""Tiny pipelines that start from a picture, of the components of their sisters from text."""

from typing import Any

from tests.tiny import parts
from tests.workers.families import builders_cross, builders_joint, builders_wan
from tests.workers.families.parts import (
    flow,
    llava,
    llava_processor,
    llava_tokenizer,
    siglip,
    siglip_processor,
)


def ltx_i2v() -> Any:
    return parts.LTXImageToVideoPipeline(**builders_cross.ltx().components)


def ltx_condition() -> Any:
    return parts.LTXConditionPipeline(**builders_cross.ltx().components)


def ltx2_i2v() -> Any:
    return parts.LTX2ImageToVideoPipeline(**builders_cross.ltx2().components)


def kandinsky5_i2v() -> Any:
    return parts.Kandinsky5I2VPipeline(**builders_cross.kandinsky5().components)


def motif_video_i2v() -> Any:
    components = builders_wan.motif_video(image_embed_dim=12).components
    components["feature_extractor"] = siglip_processor()
    return parts.MotifVideoImage2VideoPipeline(**components)


def sana_video_i2v() -> Any:
    components = builders_wan.sana_video().components
    return parts.SanaImageToVideoPipeline(**{**components, "scheduler": flow()})


def hunyuan_video15_i2v() -> Any:
    """Distilled: it is told the next step's time too."""
    sister = builders_joint.hunyuan_video15(task_type="i2v", use_meanflow=True)
    pipeline = parts.HunyuanVideo15ImageToVideoPipeline(
        **sister.components, image_encoder=siglip(), feature_extractor=siglip_processor()
    )
    pipeline.tokenizer_max_length = sister.tokenizer_max_length
    return pipeline


def hunyuan_video_i2v() -> Any:
    sister = builders_joint.hunyuan_video(image_condition_type="token_replace")
    components = {
        **sister.components,
        "text_encoder": llava(),
        "tokenizer": llava_tokenizer(),
        "image_processor": llava_processor(),
    }
    return parts.HunyuanVideoImageToVideoPipeline(**components)


def hunyuan_skyreels_i2v() -> Any:
    components = builders_joint.hunyuan_video(in_channels=8).components
    return parts.HunyuanSkyreelsImageToVideoPipeline(**components)
