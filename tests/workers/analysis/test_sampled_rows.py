"""Rows that are sampled: intervals hold the truth, a thin stripe is no sink, memory is bounded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.workers.analysis import maps
from tests.workers.analysis.test_measures import measured
from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.measure_layer import (
    Finding,
)
from workers.analysis.measures.rows import (
    all_rows,
    block_size,
    row_blocks,
    sample_rows,
)


class TestSampledRows:
    GRID = TokenGrid(8, 16, 16)  # 2,048 tokens

    def test_the_sample_is_spread_and_the_same_each_time(self) -> None:
        rows = sample_rows(2048, 100, seed=3)
        assert rows.sampled
        assert torch.equal(rows.index, sample_rows(2048, 100, seed=3).index)
        assert not torch.equal(rows.index, sample_rows(2048, 100, seed=4).index)
        counts = torch.bincount(rows.index // block_size(2048), minlength=16)
        assert (counts == counts[0]).all()
        assert counts[0] >= 2
        assert len(set(rows.index.tolist())) == len(rows.index)
        assert not sample_rows(2048, None).sampled
        assert not sample_rows(2048, 5000).sampled

    def test_intervals_hold_the_truth(self) -> None:
        """Nineteen in twenty should; of 48 here, all but a few."""
        grid = self.GRID
        sharp = maps.noise(grid, 4)
        attention = replace(sharp, query=sharp.query / 2)
        truth = measured(attention, grid).estimates
        sampled = [
            measured(attention, grid, sample_rows(grid.tokens, 128, seed)).estimates
            for seed in range(12)
        ]
        names: tuple[tuple[Finding, str], ...] = (
            ("structure", "own_frame_share"),
            ("structure", "frame_distance"),
            ("structure", "patch_slope"),
            ("sparsity", "retained_mass"),
            ("sparsity", "density_for_mass"),
            ("sparsity", "entropy"),
            ("sparsity", "block_recall"),
        )
        for finding, name in names:
            inside = []
            for each in sampled:
                value, low, high = each[finding][name]
                assert low is not None
                assert high is not None
                assert (low <= value).all()
                assert (value <= high).all()
                true = truth[finding][name].value
                inside.append((low - 1e-9 <= true) & (true <= high + 1e-9))
            assert np.mean(inside) >= 0.85, name

    def test_a_thin_stripe_is_no_sink(self) -> None:
        """A column that a sampled row alone looks at would pass for one."""
        grid = self.GRID
        weights = torch.eye(grid.tokens)[None]
        attention = maps.from_map(weights)
        rows = sample_rows(grid.tokens, 64)
        naive = measured(attention, grid, rows).received
        assert naive is not None
        assert naive.max() > 10, "of 64 rows each gives all it has to one of 2,048 tokens"
        both = measured(maps.sink(grid, 777, 0.02), grid, rows).estimates["sinks"]
        assert both["token"].value[0, 0] == 777
        assert both["strength"].value[0, 0] == pytest.approx(0.02 * grid.tokens, rel=1e-4)
        into_one = torch.zeros_like(weights)
        into_one[..., 777] = 1
        mixed = maps.from_map(0.98 * weights + 0.02 * into_one)
        assert measured(mixed, grid, rows).estimates["sinks"]["token"].value[0, 0] == 777

    def test_memory_is_a_block_of_rows(self) -> None:
        attention = maps.noise(self.GRID, 3)
        sizes = [
            block.weights.numel() * 4
            for block in row_blocks(attention, all_rows(2048), block_bytes=1 << 20)
        ]
        assert max(sizes) <= 1 << 20
        assert sum(sizes) == 3 * 2048 * 2048 * 4
