"""The judge is right on drawn films it has not seen, and the measures measure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from training.drawing.films import draw_films, draw_still
from training.drawing.scenes import FRAMES, Scenes, draw_scenes
from training.judge import NONE, Judge, judge_films, validate_judge
from training.metrics import bootstrap, edge_correlation, mask_iou, psnr_outside


def _repainted(scenes: Scenes, colour: int, season: int) -> Scenes:
    same = np.ones_like(scenes.obj)
    return dataclasses.replace(scenes, colour=colour * same, season=season * same)


@pytest.mark.slow
def test_the_judge_is_right_on_drawn_films(judge: Judge) -> None:
    right = validate_judge(judge, 64)
    for name in ("object", "colour", "season"):
        assert right[name] >= 0.98, right
    assert right["mask_iou"] > 0.9


def test_the_judge_sees_no_object_where_there_is_none(judge: Judge) -> None:
    still = draw_still(draw_scenes(range(6))).unsqueeze(2).expand(-1, -1, FRAMES, -1, -1)
    seen = judge_films(judge, still.contiguous())
    assert (seen.obj == NONE).all()
    assert (seen.colour == -1).all()


def test_structure_ignores_paint_and_tells_layouts_apart() -> None:
    scenes = draw_scenes(range(50, 56), obj="car", place="highway", season="day")
    films = draw_films(scenes).pixels
    repainted = draw_films(_repainted(scenes, colour=1, season=0)).pixels
    winter = draw_films(_repainted(scenes, colour=0, season=2)).pixels
    other = draw_films(draw_scenes(range(60, 66), obj="car", place="highway", season="day")).pixels
    assert torch.allclose(edge_correlation(films, films), torch.ones(6).double())
    assert edge_correlation(repainted, films).min() > 0.9
    assert edge_correlation(winter, films).min() > 0.8
    assert edge_correlation(other, films).max() < 0.6


def test_overlap_and_psnr_have_their_known_values() -> None:
    a, b = torch.zeros(1, 1, 8, 8, dtype=torch.bool), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    a[..., :4], b[..., 2:6] = True, True
    assert torch.isclose(mask_iou(a, b), torch.tensor([1 / 3])).all()
    none = torch.zeros_like(a)
    films = torch.zeros(1, 3, 1, 8, 8)
    assert torch.isclose(psnr_outside(films + 0.1, films, none, none), torch.tensor([20.0])).all()
    inside = films.clone()
    inside[..., 1] = 1.0
    assert psnr_outside(inside, films, a, none).item() == 60.0, "only what is outside counts"


def test_bootstrap_brackets_the_mean() -> None:
    mean, low, high = bootstrap(np.arange(100.0))
    assert mean == 49.5
    assert 42 < low < mean < high < 57
