"""Defaults of known checkpoints, where they are not their family's; each says where it is from.

A checkpoint is known by its configuration, or by its hub id where that says nothing. What is said
here is a default: the folder's retake.json, the model's settings and requests win over it.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.families.base import Family, Pipeline

WAN_NEGATIVE = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, ugly, "
    "incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, "
    "misshapen limbs, fused fingers, still picture, messy background, three legs, many people in "
    "the background, walking backwards"
)
LTX_NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
KANDINSKY_NEGATIVE = (
    "Static, 2D cartoon, cartoon, 2d animation, paintings, images, worst quality, low quality, "
    "ugly, deformed, walking backwards"
)


@dataclass(frozen=True)
class Checkpoint:
    """``pattern``: of the hub id or folder; ``fits``: of the loaded pipeline. Both must hold.

    ``defaults``: fields of ``Defaults``. ``call``: arguments of the pipeline's call. ``scheduler``:
    fields of its configuration. ``source``: where the values are from.
    """

    name: str
    families: tuple[str, ...]
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    pattern: str = ""
    fits: Callable[[Pipeline], bool] = field(default=lambda pipeline: True)


def _layers(count: int) -> Callable[[Pipeline], bool]:
    return lambda pipeline: pipeline.transformer.config.num_layers == count


def _a14b(pipeline: Pipeline) -> bool:
    return getattr(pipeline, "transformer_2", None) is not None and _layers(40)(pipeline)


_WAN = ("wan", "wan-i2v")
_LTX = ("ltx", "ltx-i2v", "ltx-condition")
_KANDINSKY = ("kandinsky-5", "kandinsky-5-i2v")

# The first that fits counts. Values by "diffusers" stand in its docstrings or documentation.
CHECKPOINTS: tuple[Checkpoint, ...] = (
    Checkpoint(
        "Wan2.2 TI2V-5B",
        _WAN,
        "Wan2.2's own configuration: 1280x704, 121 frames, 24 a second, 50 steps, guidance 5",
        {"width": 1280, "height": 704, "num_frames": 121, "fps": 24}
        | {"negative_prompt": WAN_NEGATIVE},
        fits=lambda pipeline: bool(pipeline.config.get("expand_timesteps")),
    ),
    Checkpoint(
        "Wan2.2 A14B",
        ("wan",),
        "Wan2.2's own configuration: 40 steps, guidance 4 at high noise and 3 at low",
        {"num_inference_steps": 40, "guidance_scale": 4.0, "negative_prompt": WAN_NEGATIVE},
        call={"guidance_scale_2": 3.0},
        fits=_a14b,
    ),
    Checkpoint(
        "Wan2.2 I2V-A14B",
        ("wan-i2v",),
        "Wan2.2's own configuration: 40 steps, guidance 3.5",
        {"num_inference_steps": 40, "guidance_scale": 3.5, "negative_prompt": WAN_NEGATIVE},
        fits=_a14b,
    ),
    Checkpoint(
        "Wan2.1 14B",
        _WAN,
        "the negative prompt of diffusers' example; flow_shift is the folder's: 5.0 at 720p",
        {"negative_prompt": WAN_NEGATIVE},
        fits=_layers(40),
    ),
    Checkpoint(
        "Wan2.1 1.3B",
        _WAN,
        "the negative prompt of diffusers' example; flow_shift is the folder's: 3.0 at 480p",
        {"negative_prompt": WAN_NEGATIVE},
        fits=_layers(30),
    ),
    Checkpoint(
        "SkyReels-V2 720P",
        ("skyreels-v2", "skyreels-v2-df"),
        "diffusers' example for flow_shift 8; the size and 121 frames of the 720P models",
        {"width": 1280, "height": 720, "num_frames": 121},
        scheduler={"flow_shift": 8.0},
        pattern="720P",
        fits=lambda pipeline: pipeline.transformer.config.num_layers >= 30,
    ),
    Checkpoint(
        "SkyReels-V2 540P",
        ("skyreels-v2", "skyreels-v2-df"),
        "diffusers' example: flow_shift 8 for text to video",
        scheduler={"flow_shift": 8.0},
        fits=lambda pipeline: pipeline.transformer.config.num_layers >= 30,
    ),
    Checkpoint(
        "SkyReels-V2 I2V 720P",
        ("skyreels-v2-i2v", "skyreels-v2-df-i2v"),
        "diffusers' example for flow_shift 5; the size and 121 frames of the 720P models",
        {"width": 1280, "height": 720, "num_frames": 121},
        scheduler={"flow_shift": 5.0},
        pattern="720P",
        fits=lambda pipeline: pipeline.transformer.config.num_layers >= 30,
    ),
    Checkpoint(
        "SkyReels-V2 I2V 540P",
        ("skyreels-v2-i2v", "skyreels-v2-df-i2v"),
        "diffusers' example: flow_shift 5 for image to video",
        scheduler={"flow_shift": 5.0},
        fits=lambda pipeline: pipeline.transformer.config.num_layers >= 30,
    ),
    Checkpoint(
        "CogVideoX 1.5",
        ("cogvideox", "cogvideox-i2v"),
        "the model's own page: 1360x768, 81 frames, 16 a second",
        {"width": 1360, "height": 768, "num_frames": 81, "fps": 16},
        fits=lambda pipeline: pipeline.transformer.config.patch_size_t is not None,
    ),
    Checkpoint(
        "LTX, distilled",
        _LTX,
        "diffusers' documentation: guidance 1 for distilled models; 8 steps are the authors'",
        {"num_inference_steps": 8, "guidance_scale": 1.0},
        call={"decode_timestep": 0.05, "decode_noise_scale": 0.025},
        pattern="distilled",
        fits=lambda pipeline: bool(pipeline.vae.config.timestep_conditioning),
    ),
    Checkpoint(
        "LTX from 0.9.1 on",
        _LTX,
        "diffusers' documentation: decode_timestep 0.05, noise 0.025 where the VAE is told a time",
        {"negative_prompt": LTX_NEGATIVE},
        call={"decode_timestep": 0.05, "decode_noise_scale": 0.025},
        fits=lambda pipeline: bool(pipeline.vae.config.timestep_conditioning),
    ),
    Checkpoint(
        "LTX 0.9.0",
        _LTX,
        "the negative prompt of diffusers' example",
        {"negative_prompt": LTX_NEGATIVE},
        fits=_layers(28),
    ),
    Checkpoint(
        "LTX-2, distilled",
        ("ltx-2", "ltx-2-i2v"),
        "its name: 8 steps without guidance",
        {"num_inference_steps": 8, "guidance_scale": 1.0},
        pattern="distilled",
    ),
    Checkpoint(
        "Kandinsky 5, distilled",
        _KANDINSKY,
        "its name: 16 steps without guidance",
        {"num_inference_steps": 16, "guidance_scale": 1.0},
        pattern="distilled16steps",
    ),
    Checkpoint(
        "Kandinsky 5, nocfg",
        _KANDINSKY,
        "its name: no guidance",
        {"guidance_scale": 1.0},
        pattern="nocfg",
    ),
    Checkpoint(
        "Kandinsky 5",
        _KANDINSKY,
        "the negative prompt that diffusers' pipeline uses where none is given",
        {"negative_prompt": KANDINSKY_NEGATIVE},
    ),
    Checkpoint(
        "HunyuanVideo 1.5, 720p",
        ("hunyuan-video-1.5", "hunyuan-video-1.5-i2v"),
        "its name",
        {"width": 1280, "height": 720},
        pattern="720p",
    ),
)


def checkpoint_of(family: Family, pipeline: Pipeline, path: str) -> Checkpoint:
    """What is known of ``pipeline``, loaded from ``path``; the family's own defaults else."""
    for known in CHECKPOINTS:
        if family.name not in known.families or not re.search(known.pattern, path, re.IGNORECASE):
            continue
        if known.fits(pipeline):
            return known
    words = getattr(sys.modules[type(pipeline).__module__], "DEFAULT_NEGATIVE_PROMPT", None)
    if words is not None:
        source = "the negative prompt that diffusers' pipeline uses where none is given"
        return Checkpoint(family.name, (family.name,), source, {"negative_prompt": words})
    return Checkpoint(family.name, (family.name,), "its family's defaults")
