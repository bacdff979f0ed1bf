"""Distances of videos against their formulas written out."""

import numpy as np
import pytest
import torch

from training.metrics import edge_correlation
from workers.analysis.interventions.distances import (
    MOST_PSNR,
    change_made,
    colours,
    distance,
    luminance,
    ssim,
)
from workers.families.pixels import Frames


def video(seed: int, frames: int = 3, height: int = 24, width: int = 32) -> Frames:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (frames, height // 4, width // 4, 3))
    made: Frames = np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.uint8)
    return made


def test_the_same_video() -> None:
    found = distance(video(0), video(0))
    assert found.psnr == MOST_PSNR
    assert found.ssim == pytest.approx(1)
    assert found.edges == pytest.approx(1)


def test_psnr() -> None:
    one = video(0)
    other = np.clip(one.astype(int) + 10, 0, 255).astype(np.uint8)
    square = ((one.astype(float) - other) ** 2).mean()
    assert distance(one, other).psnr == pytest.approx(10 * np.log10(255**2 / square))


def test_ssim_is_its_formula() -> None:
    one, other = (luminance(video(seed)[0]) for seed in (0, 1))
    a, b = one.double().numpy(), other.double().numpy()
    reach = np.arange(11) - 5
    window = np.exp(-(reach[:, None] ** 2 + reach[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (each[top : top + 11, left : left + 11] for each in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            xy = (window * (x - mx) * (y - my)).sum()
            found.append(
                (2 * mx * my + 1e-4) * (2 * xy + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
            )  # fmt: skip
    assert ssim(one, other) == pytest.approx(np.mean(found), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1)


def test_edges_are_the_quality_benchs() -> None:
    films = [
        torch.from_numpy(video(seed)).float().permute(3, 0, 1, 2)[None] / 255 for seed in (0, 1)
    ]
    expected = float(edge_correlation(films[0], films[1]))
    assert distance(video(0), video(1)).edges == pytest.approx(expected, abs=1e-5)


def test_flat_videos_have_no_edges() -> None:
    flat = np.full((2, 16, 16, 3), 100, np.uint8)
    assert distance(flat, flat).edges == 1
    assert distance(flat, video(0, 2, 16, 16)).edges == 0


def test_shapes_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="not comparable"):
        distance(video(0), video(0, frames=2))


def test_colours_are_shares() -> None:
    half = np.zeros((1, 2, 2, 3), np.uint8)
    half[0, 0] = (255, 0, 0)
    found = colours(half)
    assert found[0] == 0.5
    assert found[7 * 64] == 0.5
    assert found.sum() == 1


def test_change_made() -> None:
    source, plain = (np.full((1, 4, 4, 3), level, np.uint8) for level in (0, 255))
    between = source.copy()
    between[:, :1] = 255
    assert change_made(source, source, plain) == 0
    assert change_made(plain[:, ::-1], source, plain) == 1
    assert change_made(between, source, plain) == pytest.approx(0.25)
    other = np.full_like(source, 100)
    assert change_made(other, source, plain) == 0, "another colour than the one that was wanted"
    assert np.isnan(change_made(between, source, source))
