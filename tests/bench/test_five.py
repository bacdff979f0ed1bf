"""bench.five on a folder of its layout made with the bundled model, and on tiny DINO and CLIP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bench.five.__main__ import main
from bench.five.layout import Films, Item, read_films, read_items
from bench.five.make import main as make
from bench.five.measures import clip_similarities, plain_measures, structure_distance
from tests.workers.families.parts import save_clip

parts: Any = transformers
ITEM = Item(1, "0001_car", "1_truck", "a car", "a truck")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("five")
    make(["--out", str(out), "--videos", "1", "--steps", "4"])
    return out


def test_a_folder_made_with_the_bundled_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, results = folder / "data", folder / "results"
    assert [item.kind for item in read_items(data)] == [1, 3]
    assert main(["--data", str(data), "--results", str(results), "--stride", "8"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures["kinds"]) == {"1", "3"}
    mean = figures["mean"]
    # an anchored edit leaves what is not the object much as it was
    assert 20 < mean["psnr_unedit_part"] < 100
    assert 60 < mean["ssim_unedit_part"] <= 100
    assert figures["wan_edit"]["psnr_unedit_part"] == 25.508
    assert figures["missing"] == 0


def test_edits_that_were_not_made_are_counted(folder: Path, tmp_path: Path) -> None:
    item = read_items(folder / "data")[0]
    assert read_films(folder / "data", tmp_path, item, 8) is None
    with pytest.raises(SystemExit):
        main(["--data", str(folder / "data"), "--results", str(tmp_path)])
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--results", str(tmp_path)])


def films(change: int, *, masked: bool) -> Films:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 200, (2, 32, 32, 3), np.uint8)
    edit, masks = source.copy(), np.zeros((2, 32, 32), bool)
    edit[:, :8, :8] += np.uint8(change)
    masks[:, :8, :8] = masked
    return Films(source, edit, masks)


def measured(given: Films) -> dict[str, float]:
    return {each.name: each.measure(given, ITEM) for each in plain_measures()}


def test_what_the_mask_covers_does_not_count() -> None:
    inside = measured(films(50, masked=True))
    assert inside == {"psnr_unedit_part": 100.0, "mse_unedit_part": 0.0, "ssim_unedit_part": 1.0}
    outside = measured(films(50, masked=False))
    expected = (8 * 8 / 32**2) * (50 / 255) ** 2
    assert outside["mse_unedit_part"] == pytest.approx(expected)
    assert outside["psnr_unedit_part"] == pytest.approx(-10 * np.log10(expected))
    assert outside["ssim_unedit_part"] < 1
    everything = films(50, masked=True)._replace(masks=np.ones((2, 32, 32), bool))
    assert np.isnan(measured(everything)["psnr_unedit_part"])


def test_structure_distance_by_a_vit(tmp_path: Path) -> None:
    config = parts.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    parts.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    wanted = structure_distance(tmp_path, "cpu")
    assert wanted.measure(films(0, masked=True), ITEM) == 0
    small, large = (wanted.measure(films(change, masked=True), ITEM) for change in (5, 50))
    assert 0 < small < large


def test_clip_similarity_of_the_whole_and_of_the_mask(tmp_path: Path) -> None:
    save_clip(tmp_path)
    whole, part = clip_similarities(tmp_path, "cpu")
    scores = [each.measure(films(50, masked=True), ITEM) for each in (whole, part)]
    assert all(0 < score <= 100 for score in scores)
    assert scores[0] != scores[1]
