"""Every measure, in blocks, against its definition in float64 on the whole map."""

import numpy as np
import pytest
import torch

from bench.analysis import definitions as definitions
from tests.workers.analysis import maps
from workers.analysis.measures.blocks import jaccard
from workers.analysis.measures.estimates import Array, percentiles
from workers.analysis.measures.grid import Pooling, TokenGrid
from workers.analysis.measures.likeness import likeness
from workers.analysis.measures.measure_layer import (
    DEFINITIONS,
    Finding,
    LayerMeasures,
    Wanted,
    measure_layer,
)
from workers.analysis.measures.motion import motion_flow
from workers.analysis.measures.rows import (
    Heads,
    Rows,
    all_rows,
    block_size,
    softmax_rows,
)
from workers.analysis.measures.sinks import TOP
from workers.analysis.measures.sparsity import DENSITIES, MASSES, kept_keys

GRIDS = [TokenGrid(4, 3, 5), TokenGrid(5, 4, 7), TokenGrid(1, 6, 6), TokenGrid(9, 1, 1)]
LAYOUTS = [(0, False), (6, False), (6, True)]


def measured(attention: Heads, grid: TokenGrid, rows: Rows | None = None) -> LayerMeasures:
    return measure_layer([attention], grid, rows or all_rows(grid.tokens), Wanted())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["video", "video_text", "text_video"])
@pytest.mark.parametrize("block_bytes", [1, 1 << 12, 1 << 30])
def test_measures_are_their_definitions(
    grid: TokenGrid, layout: tuple[int, bool], block_bytes: int
) -> None:
    text, text_first = layout
    attention = maps.noise(grid, 2, text, text_first)
    found = measure_layer([attention], grid, all_rows(grid.tokens), Wanted(), block_bytes)
    assert attention.value is not None
    for head in range(2):
        whole = definitions.softmax_map(attention.query[head], attention.key[head], attention.scale)
        value = attention.value[head].double().numpy()
        expected: dict[Finding, dict[str, Array]] = {
            "structure": definitions.structure(whole, attention.video, grid, value),
            "sparsity": definitions.sparsity(
                whole, attention.video, DENSITIES, MASSES, block_size(grid.tokens)
            ),
            "sinks": definitions.sinks(whole, attention.video, grid, value, TOP),
        }
        for finding, measures in expected.items():
            estimates = found.estimates[finding]
            assert set(measures) == set(estimates) == set(DEFINITIONS[finding])
            for name, numbers in measures.items():
                assert estimates[name].low is None, "all rows were seen: there is no interval"
                ours = estimates[name].value[head]
                assert ours.shape == numbers.shape, name
                assert np.allclose(ours, numbers, atol=1e-5, rtol=1e-4, equal_nan=True), name


@pytest.mark.parametrize("text_first", [False, True])
def test_likeness_is_its_definition(text_first: bool) -> None:
    grid = maps.GRID
    one, other = (maps.noise(grid, 2, 6, text_first, seed) for seed in (0, 1))
    wanted = Wanted(findings=(), pooling=Pooling(grid, grid))
    signatures = [
        measure_layer([each], grid, all_rows(grid.tokens), wanted).signature
        for each in (one, other)
    ]
    assert signatures[0] is not None
    assert signatures[1] is not None
    found = likeness(signatures[0], signatures[1], sampled=False)
    for head in range(2):
        whole = [
            definitions.softmax_map(each.query[head], each.key[head], each.scale)[each.video]
            for each in (one, other)
        ]
        rows = [
            np.concatenate([each[:, one.video], 1 - each[:, one.video].sum(-1, keepdims=True)], -1)
            for each in whole
        ]
        expected = definitions.likeness(*rows)
        assert found.cosine.value[head] == pytest.approx(float(expected["cosine"]), abs=1e-5)
        assert found.overlap.value[head] == pytest.approx(float(expected["overlap"]), abs=1e-5)


def test_a_mask_is_seen() -> None:
    attention = maps.noise()
    allowed = torch.rand(maps.GRID.tokens, maps.GRID.tokens) > 0.3
    key = attention.key.float()
    whole = torch.arange(maps.GRID.tokens)
    for mask in (allowed, torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)):
        masked = Heads(attention.query, attention.key, None, attention.scale, attention.video, mask)
        weights = softmax_rows(masked, whole, key)
        assert (weights[:, ~allowed] == 0).all()
        assert torch.allclose(weights.sum(-1), torch.ones(()))
        few = softmax_rows(masked, whole[3:7], key)
        assert torch.allclose(few, weights[:, 3:7], atol=1e-6)
    hidden = torch.ones(1, maps.GRID.tokens, dtype=torch.bool)
    hidden[:, 10:] = False
    masked = Heads(attention.query, attention.key, None, attention.scale, attention.video, hidden)
    assert (softmax_rows(masked, whole, key)[..., 10:] == 0).all()


class TestKnownAnswers:
    def test_uniform(self) -> None:
        grid = maps.GRID
        found = measured(maps.uniform(grid), grid).estimates
        structure, sparsity, sinks = found["structure"], found["sparsity"], found["sinks"]
        assert structure["own_frame_share"].value == pytest.approx(1 / grid.frames)
        assert structure["other_frames_share"].value == pytest.approx(1 - 1 / grid.frames)
        assert structure["frame_slope"].value == pytest.approx(0, abs=1e-6)
        assert structure["patch_slope"].value == pytest.approx(0, abs=1e-6)
        kept = [kept_keys(density, grid.tokens) / grid.tokens for density in DENSITIES]
        assert sparsity["retained_mass"].value[0] == pytest.approx(kept, rel=1e-5)
        assert sparsity["entropy"].value == pytest.approx(np.log(grid.tokens), rel=1e-6)
        assert sinks["strength"].value == pytest.approx(1, rel=1e-4)
        assert sinks["sink_head"].value == 0

    def test_stripes_fade_by_frames_and_hold_their_place(self) -> None:
        grid = maps.GRID
        found = measured(maps.stripes(grid, fade=0.7), grid).estimates["structure"]
        assert found["patch_distance"].value == pytest.approx(0, abs=1e-6)
        assert found["frame_decay"].value[0, 0] > found["frame_decay"].value[0, 1]
        # rows at the ends have fewer neighbours: the slope is 0.7 but for their normalisation
        assert found["frame_slope"].value == pytest.approx(-0.7, abs=0.08)
        assert found["frame_fit"].value > 0.99
        assert np.nan_to_num(found["motion"].value) == pytest.approx(0)

    def test_head_classes(self) -> None:
        grid = TokenGrid(4, 4, 4)
        value = torch.randn(1, grid.tokens, 6, generator=torch.Generator().manual_seed(0))
        frame = torch.arange(grid.tokens) // grid.places
        spatial = (frame[:, None] == frame[None, :]).float() / grid.places
        for attention, spatial_head in (
            (maps.from_map(spatial[None], value), 1),
            (maps.from_map(torch.softmax(maps.stripes(grid, 0.0).query, -1), value), 0),
        ):
            found = measured(attention, grid).estimates["structure"]
            assert found["head_class"].value == spatial_head
            small, large = sorted(
                [found["frame_local_error"].value[0], found["place_local_error"].value[0]]
            )
            assert small < 1e-6 < 0.1 < large

    def test_a_sink_is_found_where_it_is(self) -> None:
        grid = maps.GRID
        token = grid.places * 2 + 7
        found = measured(maps.sink(grid, token, share=0.5), grid).estimates["sinks"]
        assert found["token"].value[0, 0] == token
        assert found["position"].value[0, 0].tolist() == [2, 1, 2]
        assert found["strength"].value[0, 0] == pytest.approx(0.5 * grid.tokens, rel=1e-5)
        assert found["ratio_to_median"].value == pytest.approx(grid.tokens - 1, rel=1e-4)
        assert found["sink_head"].value == 1
        assert found["received_by_frame"].value[0].argmax() == 2

    @pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (0, -1)])
    def test_motion_is_read_off(self, down: int, right: int) -> None:
        grid = TokenGrid(2, 9, 9)
        found = measured(maps.shifted(grid, down, right), grid).estimates["structure"]
        # of nine rows or columns one leaves at the edge and comes back eight steps behind
        expected = np.array([down, right]) * (8 * 1 - 8) / 9
        assert found["motion"].value[0, 2] == pytest.approx(expected, abs=1e-6)
        inner = maps.shifted(grid, down, right)
        flow = motion_flow(inner, grid)
        assert flow.shape == (1, 1, 9, 9, 2)
        assert flow[0, 0, 4, 4].tolist() == [down, right]

    def test_a_map_is_like_itself(self) -> None:
        grid = maps.GRID
        wanted = Wanted(findings=(), pooling=Pooling(grid, grid))
        one = measure_layer([maps.noise()], grid, all_rows(grid.tokens), wanted).signature
        apart = measure_layer([maps.diagonal()], grid, all_rows(grid.tokens), wanted).signature
        assert one is not None
        assert apart is not None
        same = likeness(one, one, sampled=False)
        assert same.cosine.value == pytest.approx(1, abs=1e-6)
        assert same.overlap.value == pytest.approx(1, abs=1e-6)
        moved = np.roll(apart[..., :-1], 1, axis=-1)
        other = likeness(apart[..., :-1], moved, sampled=False)
        assert other.overlap.value == pytest.approx(0, abs=1e-6)
        assert other.cosine.value == pytest.approx(0, abs=1e-6)


def test_folds_are_rows_of_a_mean_map() -> None:
    grid = TokenGrid(1, 3, 5)
    folds = [maps.noise(grid, 2, seed=seed) for seed in range(3)]
    found = measure_layer(folds, grid, all_rows(grid.tokens, folds=3), Wanted()).estimates
    alone = [measured(fold, grid).estimates for fold in folds]
    names: tuple[tuple[Finding, str], ...] = (
        ("structure", "patch_distance"),
        ("structure", "patch_decay"),
        ("sparsity", "retained_mass"),
        ("sparsity", "entropy"),
        ("sinks", "received_by_frame"),
    )
    for finding, name in names:
        mean = np.mean([each[finding][name].value for each in alone], axis=0)
        assert found[finding][name].value == pytest.approx(mean, rel=1e-5), name
    received = np.mean([each["sinks"]["strength"].value[:, 0] for each in alone], axis=0)
    assert (found["sinks"]["strength"].value[:, 0] <= received + 1e-6).all()


def test_percentiles_are_numpys() -> None:
    resampled = np.random.default_rng(0).normal(size=(200, 3, 4))
    resampled[:50, 1, 2] = np.nan
    resampled[:, 2, 3] = np.nan
    found = percentiles(np.zeros((3, 4)), resampled)
    known = resampled[..., :].reshape(200, -1)[:, :-1]
    low, high = np.nanpercentile(known, [2.5, 97.5], axis=0)
    assert found.low is not None
    assert found.high is not None
    assert found.low.ravel()[:-1] == pytest.approx(low)
    assert found.high.ravel()[:-1] == pytest.approx(high)
    assert np.isnan(found.low[2, 3])


def test_block_sets() -> None:
    grid = TokenGrid(4, 8, 8)
    one, other = (
        measured(each, grid).block_set for each in (maps.noise(grid), maps.noise(grid, seed=1))
    )
    assert one is not None
    assert other is not None
    assert jaccard(one, one) == pytest.approx(1)
    assert (jaccard(one, other) < 1).all()
    stripe = measured(maps.diagonal(grid), grid)
    assert stripe.estimates["sparsity"]["block_recall"].value[0, 2] == pytest.approx(1)
