"""What a model is loaded and called with beyond its folder: dtypes, scheduler, call arguments.

Settings win over what is known of the checkpoint (``workers.families.checkpoints``). All of it is
part of the fingerprint.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from workers.families.base import Family, Pipeline
from workers.model_settings import ModelSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# arguments of a pipeline's call that are the service's own, or that change a step's calls
RESERVED = frozenset(
    {
        *("prompt", "negative_prompt", "width", "height", "num_frames", "frames", "video_length"),
        *("num_inference_steps", "timesteps", "sigmas", "guidance_scale", "true_cfg_scale"),
        *("audio_guidance_scale", "frame_rate", "fps", "generator", "latents", "output_type"),
        *("return_dict", "num_videos_per_prompt", "num_images_per_prompt", "image", "video"),
        *("callback_on_step_end", "callback_on_step_end_tensor_inputs", "guidance_scale_1"),
    }
)


def component_dtypes(family: Family, settings: ModelSettings) -> dict[str, str]:
    """Of the components that are not in ``settings.dtype``, by name; an overflow is worse than the
    memory of a VAE, so that float32 stays where the authors want it."""
    named: dict[str, str] = dict.fromkeys(family.float32_components, "float32")
    named |= settings.component_dtypes
    return {name: dtype for name, dtype in sorted(named.items()) if dtype != settings.dtype}


def dtype_argument(family: Family, settings: ModelSettings) -> Any:
    """``dtype`` of diffusers' ``from_pretrained``."""
    others = component_dtypes(family, settings)
    if not others:
        return DTYPES[settings.dtype]
    return {"default": DTYPES[settings.dtype]} | {
        name: DTYPES[dtype] for name, dtype in others.items()
    }


def set_scheduler(pipeline: Pipeline, known: Mapping[str, Any], settings: ModelSettings) -> None:
    """Put what is ``known`` of the checkpoint's scheduler, and the settings', over the folder's.

    Raises ValueError.
    """
    changes = {**known, **settings.scheduler}
    if not changes:
        return
    name = changes.pop("class", None)
    found: Any = type(pipeline.scheduler) if name is None else getattr(diffusers, str(name), None)
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise ValueError(f"scheduler.class: {name!r} is no scheduler of diffusers")
    known = inspect.signature(found.__init__).parameters
    for field in changes:
        if field not in known:
            raise ValueError(f"scheduler.{field}: {found.__name__} does not have it")
    make: Any = found.from_config  # untyped
    pipeline.scheduler = make(pipeline.scheduler.config, **changes)


def check_call(pipeline: Pipeline, call: dict[str, Any]) -> None:
    """Raise ValueError for an argument that the pipeline does not take, or that is not free."""
    taken = inspect.signature(type(pipeline).__call__).parameters
    for name in call:
        if name in RESERVED or name.endswith(("embeds", "mask")):
            raise ValueError(f"call.{name}: is set by requests or by the service")
        if name not in taken:
            raise ValueError(f"call.{name}: {type(pipeline).__name__} does not take it")
