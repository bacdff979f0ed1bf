"""The token grid of a map: which frame and place a token has, and how far two are apart."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class TokenGrid(NamedTuple):
    """(F, H, W) tokens, in the order of the sequence: frames, then rows, then columns.

    A token's *place* is its row and column, numbered from 0 to H·W - 1.
    """

    frames: int
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        return self.frames * self.places

    @property
    def places(self) -> int:
        return self.rows * self.columns

    @property
    def diagonal(self) -> float:
        """The largest distance of two places, in patches; 1 where there is one place alone."""
        return math.hypot(self.rows - 1, self.columns - 1) or 1.0

    @property
    def distance_bins(self) -> int:
        """How many whole patch distances there are: 0 to the diagonal, rounded."""
        return round(math.hypot(self.rows - 1, self.columns - 1)) + 1

    def frame_of(self, tokens: Tensor) -> Tensor:
        return tokens // self.places

    def place_of(self, tokens: Tensor) -> Tensor:
        return tokens % self.places

    def position(self, token: int) -> tuple[int, int, int]:
        """(frame, row, column) of a token."""
        frame, place = divmod(token, self.places)
        return (frame, *divmod(place, self.columns))

    def frame_distances(self, tokens: Tensor) -> Tensor:
        """|f(i) - f| of each of ``tokens`` (r,) to each frame: (r, F), whole numbers."""
        frames = torch.arange(self.frames, device=tokens.device)
        return (self.frame_of(tokens)[:, None] - frames[None, :]).abs()

    def patch_distances(self, tokens: Tensor) -> Tensor:
        """The Euclidean distance of each of ``tokens`` (r,) to each place: (r, H·W), patches."""
        places = torch.arange(self.places, device=tokens.device)
        own = self.place_of(tokens)
        down = own[:, None] // self.columns - places[None, :] // self.columns
        across = own[:, None] % self.columns - places[None, :] % self.columns
        return (down.square() + across.square()).float().sqrt()


def by_frames(tensor: Tensor, grid: TokenGrid, axis: int) -> Tensor:
    """``tensor`` with its axis of N tokens as two: frames and places."""
    shape = (*tensor.shape[:axis], grid.frames, grid.places, *tensor.shape[axis + 1 :])
    return tensor.reshape(shape)


class Pooling(NamedTuple):
    """How a grid's tokens fall into the boxes of a coarser one: ``boxes`` (F', H', W')."""

    grid: TokenGrid
    boxes: TokenGrid

    def box_of(self, device: torch.device | str = "cpu") -> Tensor:
        """The box of every token: (N,)."""
        frame, row, column = (
            torch.arange(size, device=device) * count // size
            for size, count in zip(self.grid, self.boxes, strict=True)
        )
        row_of = (frame[:, None] * self.boxes.rows + row[None, :]).flatten()
        return (row_of[:, None] * self.boxes.columns + column[None, :]).flatten()


def common_boxes(grids: list[TokenGrid], most: int) -> TokenGrid:
    """The finest boxes, ``most`` at most, that every one of ``grids`` has at least a token in.

    Frames are kept as long as rows and columns can be made coarser in their place.
    """
    sizes = [min(size) for size in zip(*grids, strict=True)]
    while math.prod(sizes) > most:
        axis = max((1, 2), key=lambda each: sizes[each])
        if sizes[axis] == 1:
            axis = 0
        sizes[axis] -= 1
    return TokenGrid(*sizes)
