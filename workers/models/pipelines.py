"""Loading: a diffusers pipeline from a folder or a hub id, hooked, with the card that it earns.

Weights are read from safetensors only, and no code is ever taken from a model's folder.
"""

import json
import logging
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, attention_backend
from PIL import Image

from schemas.models import ModelCard
from workers.attention.attention_hooks import AttentionHooks
from workers.families.base import Family, Pipeline
from workers.families.checkpoints import checkpoint_of
from workers.families.registry import FAMILIES, NOT_SERVED
from workers.model_settings import CardDefaults, ModelSettings
from workers.models.loras import load_loras
from workers.models.model_card import describe
from workers.models.overrides import DTYPES, check_call, dtype_argument, set_scheduler
from workers.models.prompt_cache import PromptCache
from workers.models.quantization import cast_layerwise, quantization_arguments
from workers.models.rank_group import RankGroup
from workers.models.transformer_files import load_transformers

log = logging.getLogger("retake.pipelines")
CARD_FILE = "retake.json"
# what diffusers, transformers, peft and torch raise over a folder that is not as it should be
FAULTS = (OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError)


class ModelLoadError(Exception):
    """A model cannot be served. For the operator's log: it may name folders and versions."""


@dataclass(frozen=True)
class LoadedModel:
    """``call``: arguments of every call of the pipeline that no request names."""

    """``pictures``: what its next runs may start from, by content; see ``families.base.Pictures``.
    Whoever runs a recipe puts them there."""

    card: ModelCard
    pipeline: Pipeline
    family: Family
    hooks: AttentionHooks
    settings: ModelSettings
    group: RankGroup | None = None
    call: dict[str, Any] = field(default_factory=dict)
    prompts: PromptCache = field(default_factory=PromptCache)

    @property
    def device(self) -> torch.device:
        """Where its arithmetic is done; diffusers finds it out by a walk over all modules."""
        return torch.device(_device(self.settings))

    pictures: dict[str, Image.Image] = field(default_factory=dict)


def load_model(settings: ModelSettings, group: RankGroup | None = None) -> LoadedModel:
    """Load, hooks and describe one model. Raises ModelLoadError.

    ``group``: this process's, where the model is spread over several.
    """
    started = time.monotonic()
    folder = folder_of(settings)
    family, index = _family(folder, settings)
    try:
        own = load_transformers(settings, family, folder, index)
        # the class itself: DiffusionPipeline's own way leaves out components that are given to it
        kind: Any = getattr(diffusers, family.pipeline)
        pipeline: Pipeline = kind.from_pretrained(
            folder,
            dtype=dtype_argument(family, settings),
            use_safetensors=True,
            local_files_only=True,
            **quantization_arguments(settings, family),
            **own,
        )
        model = prepare(pipeline, family, settings, folder, group)
    except FAULTS as error:
        raise ModelLoadError(f"model {settings.id!r}: {folder} does not load: {error}") from error
    log.info(
        "model %s loaded: %s, %d layers, %.1f s",
        settings.id, family.name, model.card.layers, time.monotonic() - started,
    )  # fmt: skip
    return model


def prepare(
    pipeline: Pipeline,
    family: Family,
    settings: ModelSettings,
    folder: Path,
    group: RankGroup | None = None,
) -> LoadedModel:
    """AttentionHooks and describe ``pipeline``; the order matters.

    LoRA layers replace the linears that are hooked, fusion replaces them too, and compiled code
    does not see hooks that come later.
    """
    device = _device(settings)
    family.check(pipeline)
    checkpoint = checkpoint_of(family, pipeline, settings.path)
    set_scheduler(pipeline, checkpoint.scheduler, settings)
    call = {**checkpoint.call, **settings.call}
    check_call(pipeline, call)
    load_loras(pipeline, family, settings)
    transformers: list[Any] = list(family.transformers_of(pipeline))
    if settings.fuse_projections:
        if not family.supports_fused_qkv:
            raise ModelLoadError(f"model {settings.id!r}: {family.name} has no fused projections")
        for transformer in transformers:
            transformer.fuse_qkv_projections()
    if settings.attention_backend is not None:
        # diffusers also makes it the default of every other model in the process: put that back
        with attention_backend(settings.attention_backend):  # type: ignore[no-untyped-call]  # its
            for transformer in transformers:
                transformer.set_attention_backend(settings.attention_backend)
    cast_layerwise(settings, transformers, DTYPES[settings.dtype])
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    _spread(transformers, family, settings, group)
    hooks = AttentionHooks(pipeline, family)
    _place(pipeline, settings, device)
    if settings.compile != "none":
        backend = "inductor" if settings.compile == "default" else settings.compile
        hooks.compile(backend)
    pipeline.set_progress_bar_config(disable=True)
    own = card_defaults(folder)
    card = describe(pipeline, family, hooks, settings, folder, own, checkpoint, call)
    return LoadedModel(
        card=card,
        pipeline=pipeline,
        family=family,
        hooks=hooks,
        settings=settings,
        group=group,
        call=call,
    )


def _spread(
    transformers: list[Any], family: Family, settings: ModelSettings, group: RankGroup | None
) -> None:
    """Share the tokens of each transformer among the ranks, where the model has several."""
    if settings.ranks == 1:
        return
    if not family.supports_context_parallel:
        raise ModelLoadError(
            f"model {settings.id!r}: ranks: {settings.ranks} is not possible, {family.name} cannot "
            "be spread; allowed is 1"
        )
    if group is None or group.size != settings.ranks:
        raise ModelLoadError(
            f"model {settings.id!r}: ranks: {settings.ranks}, but this process is one of "
            f"{1 if group is None else group.size}"
        )
    for transformer in transformers:
        group.spread(transformer)


def folder_of(settings: ModelSettings) -> Path:
    """The folder of the model, fetched from the hub where ``path`` is a hub id."""
    local = Path(settings.path)
    if local.is_dir():
        return local
    if settings.path.startswith(("/", ".")) or settings.path.count("/") != 1:
        raise ModelLoadError(f"model {settings.id!r}: there is no folder {settings.path}")
    try:
        return _snapshot(settings.path, settings.revision)
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"model {settings.id!r}: {settings.path} is neither a folder nor a model that the "
            f"hub has: {error}"
        ) from error


@cache
def _snapshot(hub_id: str, revision: str | None) -> Path:
    """A hub model's folder. Asked once: the default branch may move while this process serves."""
    return Path(DiffusionPipeline.download(hub_id, revision=revision, use_safetensors=True))


def _family(folder: Path, settings: ModelSettings) -> tuple[Family, dict[str, Any]]:
    """The family, and what model_index.json says."""
    try:
        index: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"model {settings.id!r}: {folder} has no readable model_index.json"
        ) from error
    name = settings.pipeline or index.get("_class_name")
    if not isinstance(name, str) or name not in FAMILIES:
        why = f": {NOT_SERVED[name]}" if name in NOT_SERVED else ""
        raise ModelLoadError(
            f"model {settings.id!r}: pipeline {name!r} is not served{why}; "
            f"served are {', '.join(sorted(FAMILIES))}"
        )
    for component, source in index.items():
        library = source[0] if isinstance(source, list) and source else None
        if library is not None and not _is_known(library):
            raise ModelLoadError(
                f"model {settings.id!r}: component {component!r} comes from {library!r}; "
                "code is taken from diffusers and transformers only"
            )
    return FAMILIES[name], index


def _is_known(library: str) -> bool:
    """Whether a component's code is that of an installed package: its own or a pipeline's parts."""
    return library in ("diffusers", "transformers") or (
        library.isidentifier() and find_spec(f"diffusers.pipelines.{library}") is not None
    )


def card_defaults(folder: Path) -> CardDefaults:
    """What the folder's retake.json says of the model's own defaults, if it has one."""
    path = folder / CARD_FILE
    return CardDefaults.model_validate_json(path.read_text()) if path.is_file() else CardDefaults()


def _device(settings: ModelSettings) -> str:
    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _place(pipeline: Pipeline, settings: ModelSettings, device: str) -> None:
    if settings.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif settings.offload == "group":
        pipeline.enable_group_offload(
            onload_device=torch.device(device),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
        )
    else:
        pipeline.to(device)
