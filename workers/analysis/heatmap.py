"""A picture of one head's attention map, at any N, in bounded memory.

The map is the mean over cells of ``bins`` by ``bins``, taken block by block of query rows: N·N
numbers are never held (at N = 32,760 they would be 4.3 GB a head). Rows are queries, columns keys,
both in the order of the tokens (frames, rows, columns), as in arXiv 2504.10317, figure 2.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from schemas.errors import InvalidRequest
from schemas.maps import MAX_BINS

BLOCK_BYTES = 64 << 20  # of one block's softmax in fp32
# dark blue to yellow, evenly lighter: (position, red, green, blue)
_COLOURS = (
    (0.00, 0, 0, 4),
    (0.25, 87, 16, 110),
    (0.50, 188, 55, 84),
    (0.75, 249, 142, 9),
    (1.00, 252, 255, 164),
)


def pooled_map(query: Tensor, key: Tensor, *, scale: float, bins: int, video: slice) -> Tensor:
    """softmax(Q Kᵀ·scale), averaged over cells: (b, b) fp32 on the host, b = min(bins, tokens).

    ``query``, ``key``: (N', d) of one head, behind the rotary embedding. ``video``: which of the
    N' tokens are the video's; the softmax is over all of them, the picture shows the video's.
    """
    if not 1 <= bins <= MAX_BINS:
        raise InvalidRequest(f"bins: {bins} is not allowed; allowed is 1 to {MAX_BINS}")
    rows = query[video].float()  # (N, d)
    keys = key.float()
    tokens = len(rows)
    bins = min(bins, tokens)
    cell = torch.arange(tokens, device=rows.device) * bins // tokens  # (N,): a token's bin
    sizes = torch.bincount(cell, minlength=bins).float()
    sums = torch.zeros(bins, bins, device=rows.device)
    step = max(1, BLOCK_BYTES // (4 * len(keys)))
    for start in range(0, tokens, step):
        weights = (rows[start : start + step] @ keys.T * scale).softmax(-1)[:, video]  # (r, N)
        pooled = torch.zeros(len(weights), bins, device=rows.device)
        pooled.index_add_(1, cell, weights)  # (r, b)
        sums.index_add_(0, cell[start : start + step], pooled)
    return (sums / sizes[:, None] / sizes[None, :]).cpu()


def picture(pooled: Tensor, *, side: int = 512) -> bytes:
    """A PNG of ``pooled``, ``side`` pixels square or a little more, so that all cells are alike:
    the logarithm of the weights, three decades."""
    values = pooled.numpy().astype(np.float64)
    top = values.max()
    decades = np.log10(np.maximum(values, top * 1e-3) / top) if top > 0 else values - 3
    image = Image.fromarray(_colour(decades / 3 + 1))
    out = io.BytesIO()
    pixels = len(values) * -(-side // len(values))
    image.resize((pixels, pixels), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def _colour(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(h, w) in 0 to 1 as (h, w, 3)."""
    places, *channels = np.array(_COLOURS).T
    return np.stack([np.interp(values, places, each) for each in channels], -1).astype(np.uint8)
