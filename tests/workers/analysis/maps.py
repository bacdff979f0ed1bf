"""Queries and keys whose map has a known answer, and random ones."""

import math

import torch
from torch import Tensor

from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.rows import Heads

GRID = TokenGrid(4, 3, 5)


def from_map(weights: Tensor, value: Tensor | None = None) -> Heads:
    """Heads whose softmax map is ``weights`` (H, N, N): the keys are a basis."""
    logits = weights.clamp(min=1e-30).log()
    key = torch.eye(weights.shape[-1]).expand(len(weights), -1, -1)
    return Heads(logits, key, value, 1.0, slice(0, weights.shape[-1]))


def noise(
    grid: TokenGrid = GRID, heads: int = 2, text: int = 0, text_first: bool = False, seed: int = 0
) -> Heads:
    """Random heads, sharp enough to differ from uniform, maybe with text in the attention."""
    generator = torch.Generator().manual_seed(seed)
    total = grid.tokens + text
    query, key = (torch.randn(heads, total, 8, generator=generator) for _ in range(2))
    value = torch.randn(heads, total, 6, generator=generator)
    first = text if text_first else 0
    return Heads(query * 2, key, value, 8**-0.5, slice(first, first + grid.tokens))


def uniform(grid: TokenGrid = GRID, heads: int = 1) -> Heads:
    return from_map(torch.full((heads, grid.tokens, grid.tokens), 1 / grid.tokens))


def diagonal(grid: TokenGrid = GRID) -> Heads:
    """Every token sees itself alone."""
    return from_map(torch.eye(grid.tokens)[None])


def stripes(grid: TokenGrid = GRID, fade: float = math.log(2)) -> Heads:
    """Every token sees its own place alone, in all frames, ``fade`` less a frame further off."""
    frame, place = torch.arange(grid.tokens) // grid.places, torch.arange(grid.tokens) % grid.places
    weights = torch.exp(-fade * (frame[:, None] - frame[None, :]).abs().float())
    weights = weights * (place[:, None] == place[None, :])
    return from_map((weights / weights.sum(-1, keepdim=True))[None])


def sink(grid: TokenGrid = GRID, token: int = 7, share: float = 0.5) -> Heads:
    """Every query gives ``share`` to one token and the rest to all others alike."""
    weights = torch.full((grid.tokens, grid.tokens), (1 - share) / (grid.tokens - 1))
    weights[:, token] = share
    return from_map(weights[None])


def shifted(grid: TokenGrid = GRID, down: int = 0, right: int = 1) -> Heads:
    """What a token sees in each frame lies ``down`` and ``right`` of it, a step a frame, with the
    edges joined."""
    weights = torch.zeros(grid.tokens, grid.tokens)
    for i in range(grid.tokens):
        frame, row, column = grid.position(i)
        for other in range(grid.frames):
            steps = other - frame
            to_row, to_column = (
                (row + steps * down) % grid.rows,
                (column + steps * right) % grid.columns,
            )
            weights[i, (other * grid.rows + to_row) * grid.columns + to_column] = 1 / grid.frames
    return from_map(weights[None])
