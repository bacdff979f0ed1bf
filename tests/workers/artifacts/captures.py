"""Captures of every shape: what tests write, and the same in memory to compare with."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from schemas.artifacts import Manifest
from schemas.capture_plan import CapturePlan, Needed
from schemas.recipes import Generation, Recipe
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address, MapSink, MemoryMaps

GRID = (2, 4, 6)
TOKENS, WIDTH = 48, 64
PROJECT = "alpha"

# Small, so that packs close, blocks end and the pool fills
SMALL = ArtifactSettings(
    pool_bytes=512 << 10,
    pack_bytes=8 << 10,
    frame_bytes=4 << 10,
    window_bytes=64 << 10,
    host_cache_bytes=0,
    store_patience_s=5,
)


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": "tiny",
        "fingerprint": "f" * 64,
        "prompt": "a car",
        "negative_prompt": "",
        "seed": 1,
        "width": 48,
        "height": 32,
        "num_frames": 5,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "fps": 8,
        **changes,
    }
    return Recipe(generation=Generation(**values))


def plan(**changes: Any) -> CapturePlan:
    values: dict[str, Any] = {
        "form": "hidden",
        "codec": "zipnn",
        "layers": (0, 1, 2),
        "steps": (0, 1, 2, 3),
        "branches": ("cond", "uncond"),
        **changes,
    }
    return CapturePlan(**values)


def activations(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Like a transformer's: channels of very different size."""
    noise = torch.Generator().manual_seed(seed)
    scale = torch.rand(shape[-1], generator=noise) ** 4 * 10 + 0.01
    return (torch.randn(shape, generator=noise) * scale).to(dtype)


def addresses(plan: CapturePlan, *, batched: bool = False) -> Iterable[Address]:
    """In the order of a denoising: branch by branch, or both branches in one batch."""
    for step in plan.steps:
        if batched:
            yield from (Address(step, b, layer) for layer in plan.layers for b in plan.branches)
        else:
            yield from (Address(step, b, layer) for b in plan.branches for layer in plan.layers)


def fill(
    sink: MapSink,
    plan: CapturePlan,
    dtype: torch.dtype = torch.bfloat16,
    *,
    batched: bool = False,
) -> MemoryMaps:
    """Put what ``plan`` names into ``sink``; the same in memory."""
    kept = MemoryMaps()
    names = {"hidden": ["hidden"], "qk": ["q", "k"], "dense": ["map"]}[plan.form]
    for seed, address in enumerate(addresses(plan, batched=batched)):
        for number, name in enumerate(names):
            tensor = activations((1, TOKENS, WIDTH), dtype, 2 * seed + number)
            kept.put(address, name, tensor)
            sink.put(address, name, tensor)
            tensor.fill_(0)  # the model uses its memory again
    return kept


def write(store: ArtifactStore, plan: CapturePlan, **options: Any) -> tuple[Manifest, MemoryMaps]:
    made = options.pop("recipe", recipe())
    with store.open_writer(project=PROJECT, recipe=made, plan=plan, grid=GRID) as writer:
        kept = fill(writer, plan, **options)
        return writer.commit(), kept


def everything(plan: CapturePlan, passes: int = 1) -> Needed:
    return Needed(frozenset(plan.layers), frozenset(plan.steps), frozenset(plan.branches), passes)


def equal(one: Tensor, other: Tensor) -> bool:
    """To the bit, also where there are NaN."""
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and torch.equal(one.view(torch.uint8), other.view(torch.uint8))
