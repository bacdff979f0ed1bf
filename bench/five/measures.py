"""What FiVE-Bench measures of an edit without a model of language: after PIE-Bench, frame by frame.

PSNR, MSE and SSIM of what the mask leaves out: the masked part is zero in both frames, and counts
as equal, as there. Structure distance needs DINO, CLIP similarity needs CLIP: from folders that
whoever has them names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from bench.five.layout import Films, Item
from workers.analysis.interventions.distances import ssim
from workers.engine.text_agreement import TextAgreement

parts: Any = transformers  # untyped
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Frame = NDArray[np.uint8]


class Wanted(NamedTuple):
    """``unit``: what the benchmark multiplies by when it reports."""

    name: str
    unit: float
    measure: Callable[[Films, Item], float]


def plain_measures() -> list[Wanted]:
    """Those that need nothing but the frames."""
    return [
        Wanted("psnr_unedit_part", 1.0, lambda films, _: _mean(_psnr, films)),
        Wanted("mse_unedit_part", 1e4, lambda films, _: _mean(_mse, films)),
        Wanted("ssim_unedit_part", 1e2, lambda films, _: _mean(_ssim, films)),
    ]


def _mean(of: Callable[[Frame, Frame], float], films: Films) -> float:
    """Over the frames of which the mask leaves something; NaN where it leaves nothing of any."""
    values = []
    for source, edit, mask in zip(*films, strict=True):
        if not mask.all():
            left = (~mask)[..., None]
            values.append(of(source * left, edit * left))
    return float(np.mean(values)) if values else float("nan")


def _mse(one: Frame, other: Frame) -> float:
    return float(((one.astype(np.float64) - other) ** 2).mean() / 255**2)


def _psnr(one: Frame, other: Frame) -> float:
    return float(min(100.0, -10 * np.log10(max(_mse(one, other), 1e-10))))


def _ssim(one: Frame, other: Frame) -> float:
    """Mean over the three channels."""
    pairs = ((torch.from_numpy(each[..., c] / 255.0) for each in (one, other)) for c in range(3))
    return float(np.mean([ssim(*pair) for pair in pairs]))


def structure_distance(folder: Path, device: str) -> Wanted:
    """Mean square difference of the self-similarity of the keys in the last layer of a ViT (DINO
    ViT-B/8 in the benchmark; Splice, arXiv 2201.00424)."""
    model = parts.ViTModel.from_pretrained(folder, use_safetensors=True).eval().to(device)
    kept: list[Tensor] = []
    keys = [part for name, part in model.named_modules() if name.endswith((".key", ".k_proj"))]
    keys[-1].register_forward_hook(lambda module, inputs, out: kept.append(out))

    @torch.no_grad()
    def similarity(frame: Frame) -> Tensor:
        kept.clear()
        pixels = torch.from_numpy(frame.copy()).movedim(-1, 0)[None].float() / 255
        size = (model.config.image_size,) * 2
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
        model(((pixels - mean) / std).to(device))
        key = torch.nn.functional.normalize(kept[0][0].float(), dim=-1)  # (tokens, width)
        return key @ key.T

    def measure(films: Films, _: Item) -> float:
        pairs = zip(films.source, films.edit, strict=True)
        return float(
            np.mean([(similarity(a) - similarity(b)).square().mean().item() for a, b in pairs])
        )

    return Wanted("structure_distance", 1e3, measure)


def clip_similarities(folder: Path, device: str) -> list[Wanted]:
    """100 · cosine of a frame and the target's prompt, 0 at least: whole, and masked."""
    agreement = TextAgreement(folder, device)

    def score(frames: NDArray[np.uint8], prompt: str) -> float:
        return float((100 * agreement.cosines(frames, prompt)).clip(min=0).mean())

    return [
        Wanted(
            "clip_similarity_target_image",
            1.0,
            lambda films, item: score(films.edit, item.target_prompt),
        ),
        Wanted(
            "clip_similarity_target_image_edit_part",
            1.0,
            lambda films, item: score(films.edit * films.masks[..., None], item.target_prompt),
        ),
    ]
