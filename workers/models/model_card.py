"""A model's card: its limits and defaults, and the fingerprint of all that changes its numbers."""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from schemas.attention import REGION_FAMILIES, StepCacheMethod
from schemas.base import canonical_hash
from schemas.films.region import RegionKind
from schemas.models import IntRange, ModelCard
from workers.attention.attention_hooks import AttentionHooks
from workers.families.base import Axis, Family, Pipeline
from workers.families.checkpoints import Checkpoint
from workers.model_settings import CardDefaults, ModelSettings
from workers.models.file_digests import sha256_of
from workers.models.loras import lora_identity
from workers.models.overrides import component_dtypes
from workers.models.prompts import max_prompt_tokens
from workers.models.transformer_files import file_digests

WEIGHTS = (".safetensors", ".json", ".model", ".txt", ".jinja")  # the last: chat templates


def describe(
    pipeline: Pipeline,
    family: Family,
    hooks: AttentionHooks,
    settings: ModelSettings,
    folder: Path,
    own: CardDefaults,
    checkpoint: Checkpoint,
    call: dict[str, Any],
) -> ModelCard:
    """The card: settings win over the folder's retake.json, that over what is known of the
    checkpoint, that over the family's defaults."""
    stated = {name: value for name, value in settings.defaults if value is not None}
    said = own.model_copy(update=stated)
    base = replace(family.defaults, **checkpoint.defaults)

    def default(name: str) -> Any:
        value = getattr(said, name)
        return getattr(base, name) if value is None else value

    grid, axes = family.grid(pipeline), family.axes(pipeline)
    width, height, frames = default("width"), default("height"), default("num_frames")
    max_width = said.max_width or max(width, height) * 2
    max_height = said.max_height or max(width, height) * 2
    revision = revision_of(folder)
    return ModelCard(
        id=settings.id,
        family=family.name,
        fingerprint=fingerprint(
            pipeline, settings, revision, component_dtypes(family, settings), call
        ),
        revision=revision,
        dtype=settings.dtype,
        licence=default("licence"),
        default_size=f"{width}x{height}",
        width_range=_range("width", axes[2], width, max_width),
        height_range=_range("height", axes[1], height, max_height),
        max_pixels=max(width * height * 2, max_width * max_height // 2),
        num_frames=_frames(
            axes[0],
            frames,
            said.max_frames or base.max_frames or frames * 2,
            family.fixed_num_frames(pipeline),
        ),
        num_inference_steps=IntRange(
            minimum=family.min_steps,
            maximum=said.max_inference_steps or 200,
            default=default("num_inference_steps"),
        ),
        fps=IntRange(minimum=1, maximum=60, default=default("fps")),
        guidance_scale=default("guidance_scale"),
        supports_guidance_scale_2=family.takes(pipeline, "guidance_scale_2")
        and pipeline.config.get("boundary_ratio") is not None,
        guidance_scale_2=call.get("guidance_scale_2"),
        negative_prompt=default("negative_prompt"),
        max_prompt_chars=said.max_prompt_chars or 2000,
        max_prompt_tokens=max_prompt_tokens(pipeline, family),
        layers=hooks.layers,
        heads=hooks.attention_modules[0].heads if hooks.attention_modules else 0,
        width=hooks.attention_modules[0].width if hooks.attention_modules else 0,
        branches=tuple(sorted(family.branch_order)),
        always_guided=family.always_guided,
        supports_transfer=bool(hooks.attention_modules),
        supports_preview=family.can_preview(pipeline),
        supports_step_cache=family.supports_step_cache
        and settings.compile == "none"
        and settings.offload != "group"
        and settings.ranks == 1,
        # counts its steps in each transformer, and of two experts each has some of them
        step_cache_methods=get_args(StepCacheMethod)[: 1 if len(hooks.transformers) > 1 else None],
        supports_uploads=settings.ranks == 1 and family.can_follow_films(pipeline),
        supports_region=_computes_some_tokens(family, settings),
        region_kinds=_region_kinds(pipeline, family, settings),
        inputs=("text",) if family.picture == "none" else ("text", "image"),
        required_inputs=("text", "image") if family.picture == "required" else ("text",),
        grid=grid,
        latent_channels=family.latent_channels(pipeline),
        loras=tuple(sorted(settings.loras)),
        told_fps=family.fps_argument is not None,
        checkpoint=checkpoint.name,
        defaults_source=checkpoint.source,
        presets=said.presets or {},
        created_at=int(time.time()),
    )


def _computes_some_tokens(family: Family, settings: ModelSettings) -> bool:
    """Blocks are not compiled for so many tokens, and the query has a linear of its own."""
    whole = settings.compile != "none" or settings.ranks > 1 or settings.fuse_projections
    return family.name in REGION_FAMILIES and not whole


def _region_kinds(
    pipeline: Pipeline, family: Family, settings: ModelSettings
) -> tuple[RegionKind, ...]:
    if settings.ranks > 1 or not _takes_masks(pipeline, family):
        return ()
    tokenizer = getattr(pipeline, "tokenizer", None)
    # its place in the text is needed; of compiled blocks no hook sees what is within
    by_word = family.cross_attention and settings.compile == "none"
    if by_word and getattr(tokenizer, "is_fast", False):
        return get_args(RegionKind)
    return ("mask", "boxes", "auto")


def _takes_masks(pipeline: Pipeline, family: Family) -> bool:
    """An answer of the transformer lies as the latents do, in a layout that is known, and there is
    one for each call; noise of a scheduler's own would not be the source's."""
    noisy = "sde" in pipeline.scheduler.config.get("algorithm_type", "")
    one = len(family.step_inputs) == 1 and not family.extra_calls
    return family.latent_layout is not None and one and not noisy


def _frames(axis: Axis, default: int, maximum: int, only: int | None) -> IntRange:
    if only is not None:
        return IntRange(minimum=only, maximum=only, default=only)
    return _range("num_frames", axis, default, maximum)


def _range(name: str, axis: Axis, default: int, maximum: int) -> IntRange:
    """A range whose ends can be asked for themselves; raises ValueError if the default cannot."""
    most = min(maximum, axis.maximum or maximum)
    possible = default >= 1 and (default - axis.offset) % axis.step == 0
    if not possible or default > (axis.maximum or default):
        raise ValueError(
            f"default {name} {default} is not possible for this model: allowed are numbers of the "
            f"form {axis.step}k+{axis.offset}" + (f" up to {most}" if axis.maximum else "")
        )
    return IntRange(
        minimum=min(axis.minimum, default),
        maximum=max((most - axis.offset) // axis.step * axis.step + axis.offset, default),
        default=default,
        step=axis.step,
        offset=axis.offset,
    )


def revision_of(folder: Path) -> str:
    """The hub's commit where ``folder`` is its snapshot, else a hash over the files."""
    if folder.parent.name == "snapshots" and len(folder.name) == 40:
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in WEIGHTS and path.name != "retake.json":
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()[:40]


def fingerprint(
    pipeline: Pipeline,
    settings: ModelSettings,
    revision: str,
    dtypes: dict[str, str] | None = None,
    call: dict[str, Any] | None = None,
) -> str:
    """SHA-256 over all of a model that changes numbers, 64 hex digits.

    ``dtypes``: of components that differ from the rest; ``call``: arguments of every call.
    """
    # some schedulers have infinite bounds, which JSON has no number for
    scheduler = json.loads(pipeline.scheduler.to_json_string(), parse_constant=str)
    scheduler.pop("_diffusers_version", None)
    files = file_digests(settings)
    loras = {name: lora_identity(lora) for name, lora in sorted(settings.loras.items())}
    return canonical_hash(
        {
            "revision": revision,
            "dtype": settings.dtype,
            "scheduler": scheduler,
            "attention_backend": settings.attention_backend,
            "quantization": settings.quantization,
            "fuse_projections": settings.fuse_projections,
            "compile": settings.compile,
            "vae_tiling": settings.vae_tiling,
            "loras": loras,
            # where there are none, a key from before they could be named stays what it was
            **({"component_dtypes": dtypes} if dtypes else {}),
            **({"call": call} if call else {}),
            **({"files": files} if files else {}),
            **({"pipeline": settings.pipeline} if settings.pipeline else {}),
            **({"ranks": settings.ranks} if settings.ranks > 1 else {}),
        }
    )
