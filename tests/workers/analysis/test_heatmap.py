"""Pictures of maps: the same as the explicit map's, at any size, in bounded memory."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

import workers.analysis.heatmap as heatmap
from schemas.attention import CaptureSpec, Form
from schemas.errors import InvalidRequest, Unsupported
from schemas.maps import Place
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from tests import tiny
from tests.workers.bench import generate, stored_attention
from tests.workers.families.builders_wan import wan_a14b
from workers.analysis.heatmap import picture, pooled_map
from workers.analysis.render_map import render_map
from workers.attention.maps import Address, MemoryMaps
from workers.attention.transfer import Capture
from workers.models.pipelines import LoadedModel

ALL = slice(None)


def explicit(query: torch.Tensor, key: torch.Tensor, bins: int) -> torch.Tensor:
    weights = (query @ key.T * query.shape[1] ** -0.5).softmax(-1)
    cell = torch.arange(len(query)) * bins // len(query)
    pick = torch.nn.functional.one_hot(cell, bins).float()
    sizes = pick.sum(0)
    pooled: torch.Tensor = pick.T @ weights @ pick / sizes[:, None] / sizes[None, :]
    return pooled


@pytest.mark.parametrize(("tokens", "bins"), [(96, 96), (100, 7), (50, 300)])
@pytest.mark.parametrize("block_bytes", [1, 4 * 100 * 9, 1 << 20])
def test_pooled_in_blocks_is_the_explicit_map(
    monkeypatch: pytest.MonkeyPatch, tokens: int, bins: int, block_bytes: int
) -> None:
    monkeypatch.setattr(heatmap, "BLOCK_BYTES", block_bytes)
    noise = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, tokens, 16, generator=noise)
    pooled = pooled_map(query, key, scale=16**-0.5, bins=bins, video=ALL)
    assert torch.allclose(pooled, explicit(query, key, min(bins, tokens)), atol=1e-6)


def test_text_counts_in_the_softmax_and_is_not_shown() -> None:
    query, key = torch.randn(2, 30, 8)
    pooled = pooled_map(query, key, scale=1.0, bins=20, video=slice(10, 30))
    weights = (query @ key.T).softmax(-1)
    assert torch.allclose(pooled, weights[10:, 10:], atol=1e-6)


def test_a_large_map_takes_little_memory() -> None:
    """Of 12,000 tokens the map alone would be 576 MB, and its softmax as much again."""
    query, key = torch.randn(2, 12_000, 4)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    pooled_map(query, key, scale=0.5, bins=64, video=ALL)
    assert peak_bytes() - before < 6 * heatmap.BLOCK_BYTES


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_the_picture_is_bright_where_the_weights_are() -> None:
    pooled = torch.full((4, 4), 1e-9)
    pooled[1, 2] = 1.0
    image = Image.open(io.BytesIO(picture(pooled, side=64)))
    assert image.size == (64, 64)
    bright = image.getpixel((2 * 16 + 8, 1 * 16 + 8))
    assert bright == (252, 255, 164)
    assert image.getpixel((0, 0)) == (0, 0, 4)


@pytest.mark.parametrize(("cells", "side"), [(1, 512), (120, 600), (512, 512), (1000, 1000)])
def test_all_cells_are_alike(cells: int, side: int) -> None:
    assert Image.open(io.BytesIO(picture(torch.rand(cells, cells)))).size == (side, side)


@pytest.mark.parametrize("bins", [0, 1025])
def test_bins_out_of_range(bins: int) -> None:
    with pytest.raises(InvalidRequest, match="bins"):
        pooled_map(torch.randn(4, 2), torch.randn(4, 2), scale=1.0, bins=bins, video=ALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("wan")
    return tiny.load(tiny.wan(), folder)


def captured(model: LoadedModel, recipe: Recipe, form: Form) -> MemoryMaps:
    maps = MemoryMaps()
    plan = resolve_capture(CaptureSpec(form=form, scope="everything"), model.card, recipe)
    generate(model, recipe, capture=Capture(plan, maps))
    return maps


class TestLook:
    """At the tiny model, against the dense maps that the engine keeps."""

    def expected(self, model: LoadedModel, place: Place) -> torch.Tensor:
        maps = captured(model, tiny.recipe(model), "dense")
        weights = maps.get(Address(place.step, place.branch, place.layer), "map")
        return weights[0, place.head]

    @pytest.mark.parametrize("form", ["hidden", "qk"])
    @pytest.mark.parametrize(
        "place", [Place(2, "cond", 1, 0), Place(1, "uncond", 2, 1)], ids=["cond", "uncond"]
    )
    def test_from_what_is_stored(self, model: LoadedModel, form: Form, place: Place) -> None:
        recipe = tiny.recipe(model)
        stored = captured(model, recipe, form)
        seen = render_map(model, recipe, place, bins=1024, stored=stored_attention(stored, form))
        assert torch.allclose(seen, self.expected(model, place), atol=1e-4)

    @pytest.mark.parametrize("step", [0, 2], ids=["first expert", "second expert"])
    def test_of_two_experts_the_steps_own(self, tmp_path: Path, step: int) -> None:
        """The other one's projections would make another map of the same hidden states."""
        model = tiny.load(wan_a14b(), tmp_path)
        place, recipe = Place(step, "cond", 1, 0), tiny.recipe(model)
        stored = captured(model, recipe, "hidden")
        seen = render_map(model, recipe, place, bins=1024, stored=stored_attention(stored))
        assert torch.allclose(seen, self.expected(model, place), atol=1e-4)

    def test_without_anything_stored(self, model: LoadedModel) -> None:
        place = Place(1, "cond", 2, 1)
        seen = render_map(model, tiny.recipe(model), place, bins=1024)
        assert torch.allclose(seen, self.expected(model, place), atol=1e-4)

    @pytest.mark.parametrize(
        "place",
        [Place(3, "cond", 0, 0), Place(0, "cond", 3, 0), Place(0, "cond", 0, 2)],
        ids=["step", "layer", "head"],
    )
    def test_out_of_range(self, model: LoadedModel, place: Place) -> None:
        with pytest.raises(InvalidRequest, match="is not one of 0 to"):
            render_map(model, tiny.recipe(model), place)

    def test_an_edit_needs_its_artifact(self, model: LoadedModel) -> None:
        source = tiny.recipe(model)
        edit = tiny.recipe(model, "a dog").model_copy(update={"source": source})
        with pytest.raises(Unsupported, match="stored attention"):
            render_map(model, edit, Place(0, "cond", 0, 0))
