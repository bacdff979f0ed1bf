"""Every measure of a map as it is defined: plain numpy in float64, on the whole N x N map.

What ``workers.analysis.measures`` computes in blocks is held against these, by the tests on small
maps and by ``bench.analysis`` on larger ones. One head at a time; nothing here is fast.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.analysis.measures.grid import TokenGrid

Array = NDArray[np.float64]


def softmax_map(query: Any, key: Any, scale: float) -> Array:
    """(N', N') of one head, from (N', d)."""
    logits = np.asarray(query, np.float64) @ np.asarray(key, np.float64).T * scale
    logits -= logits.max(-1, keepdims=True)
    weights = np.exp(logits)
    whole: Array = weights / weights.sum(-1, keepdims=True)
    return whole


def structure(whole: Array, video: slice, grid: TokenGrid, value: Array) -> dict[str, Array]:
    """``whole``: (N', N'). ``value``: (N', d)."""
    weights = whole[video, video]
    frame = np.arange(grid.tokens) // grid.places
    row, column = np.divmod(np.arange(grid.tokens) % grid.places, grid.columns)
    frames_off = np.abs(frame[:, None] - frame[None, :])
    patches_off = np.hypot(row[:, None] - row[None, :], column[:, None] - column[None, :])
    own = (weights * (frames_off == 0)).sum(-1)
    renormalised = weights / weights.sum(-1, keepdims=True)
    frame_decay = _by_distance(renormalised, frames_off, grid.frames)
    patch_decay = _by_distance(renormalised, np.rint(patches_off).astype(int), grid.distance_bins)
    frame_line, patch_line = _line(frame_decay), _line(patch_decay)
    error_frame, error_place = _mask_errors(
        renormalised, frames_off == 0, patches_off, grid, value[video]
    )
    found: dict[str, Any] = {
        "own_frame_share": own.mean(),
        "other_frames_share": (weights.sum(-1) - own).mean(),
        "context_share": (1 - weights.sum(-1)).mean(),
        "frame_distance": (renormalised * frames_off).sum(-1).mean() / max(grid.frames - 1, 1),
        "patch_distance": (renormalised * patches_off).sum(-1).mean() / grid.diagonal,
        "frame_decay": frame_decay,
        "patch_decay": patch_decay,
        "frame_slope": frame_line[0],
        "frame_fit": frame_line[1],
        "patch_slope": patch_line[0],
        "patch_fit": patch_line[1],
        "frame_local_error": error_frame,
        "place_local_error": error_place,
        "head_class": float(error_frame <= error_place),
        "motion": _motion(weights, grid),
    }
    return {name: np.asarray(each, np.float64) for name, each in found.items()}


def _by_distance(weights: Array, distance: Any, bins: int) -> Array:
    return np.array(
        [weights[distance == d].mean() if (distance == d).any() else np.nan for d in range(bins)]
    )


def _line(decay: Array) -> tuple[float, float]:
    places = np.flatnonzero(np.isfinite(decay) & (decay > 0))
    if len(places) < 2:
        return np.nan, np.nan
    heights = np.log(decay[places])
    slope, start = np.polyfit(places, heights, 1)
    left = ((heights - slope * places - start) ** 2).sum()
    spread = ((heights - heights.mean()) ** 2).sum()
    return float(slope), float(1 - left / spread) if spread > 1e-12 else np.nan


def _mask_errors(
    weights: Array, same_frame: Any, patches_off: Array, grid: TokenGrid, value: Array
) -> tuple[float, float]:
    whole = weights @ value
    near = np.zeros_like(same_frame)
    for i in range(grid.tokens):
        order = np.argsort(patches_off[i, : grid.places].astype(np.float32), kind="stable")
        chosen = order[: math.ceil(grid.places / grid.frames)]
        for frame in range(grid.frames):
            near[i, frame * grid.places + chosen] = True
    errors = []
    for mask in (same_frame, near):
        kept = weights * mask
        output = kept / kept.sum(-1, keepdims=True) @ value
        errors.append(((whole - output) ** 2).sum() / (whole**2).sum())
    return errors[0], errors[1]


def _motion(weights: Array, grid: TokenGrid) -> Array:
    found: dict[int, list[tuple[int, int]]] = {}
    for i in range(grid.tokens):
        frame, row, column = grid.position(i)
        for other in range(grid.frames):
            start = other * grid.places
            place = int(weights[i, start : start + grid.places].argmax())
            down, across = divmod(place, grid.columns)
            found.setdefault(other - frame, []).append((down - row, across - column))
    distances = range(1 - grid.frames, grid.frames)
    return np.array([np.mean(found[d], axis=0) for d in distances])


def sparsity(
    whole: Array, video: slice, densities: tuple[float, ...], masses: tuple[float, ...], size: int
) -> dict[str, Array]:
    """``size``: tokens a side of a block."""
    weights = whole[video, video]
    tokens = len(weights)
    context = (1 - weights.sum(-1))[:, None]
    held = np.cumsum(-np.sort(-weights, axis=-1), axis=-1) + context
    needed = np.stack([(held < mass).sum(-1) + 1 for mass in masses], -1).clip(max=tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(whole[video] > 0, -whole[video] * np.log(whole[video]), 0.0)
    starts = range(0, tokens, size)
    blocks = np.array(
        [[weights[a : a + size, b : b + size].sum() / tokens for b in starts] for a in starts]
    )
    best = np.cumsum(-np.sort(-blocks.ravel())) + context.mean()
    return {
        "retained_mass": held[:, _last_kept(densities, tokens)].mean(0),
        "density_for_mass": (needed / tokens).mean(0),
        "entropy": terms.sum(-1).mean(),
        "block_recall": best[_last_kept(densities, blocks.size)],
    }


def _last_kept(densities: tuple[float, ...], count: int) -> list[int]:
    """Where the last of the kept ones stands, of ``count`` in order."""
    return [min(count, max(1, math.ceil(round(k * count, 9)))) - 1 for k in densities]


def sinks(whole: Array, video: slice, grid: TokenGrid, value: Array, top: int) -> dict[str, Array]:
    """``value``: (N', d)."""
    received = whole[video, video].mean(0)
    order = np.argsort(-received, kind="stable")[:top]
    norms = np.linalg.norm(value[video], axis=-1)
    ratio = received[order[0]] / np.median(received)
    found: dict[str, Any] = {
        "strength": received[order] * len(whole),
        "ratio_to_median": ratio,
        "sink_head": float(ratio >= 10),
        "token": order,
        "position": [grid.position(int(token)) for token in order],
        "received_by_frame": received.reshape(grid.frames, -1).mean(-1) * len(whole),
        "value_norm": norms[order] / np.median(norms),
    }
    return {name: np.asarray(each, np.float64) for name, each in found.items()}


def likeness(one: Array, other: Array) -> dict[str, Array]:
    """Of two maps of one size, rows that sum to 1."""
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return {
        "cosine": np.asarray(((one * other).sum(-1) / norms).mean()),
        "overlap": np.asarray((1 - np.abs(one - other).sum(-1) / 2).mean()),
    }
