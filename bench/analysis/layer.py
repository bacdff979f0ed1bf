"""What looking at one layer costs at real size: Wan2.1-1.3B's heads, N = 32,760, on a GPU.

    python -m bench.analysis.layer

Random queries, keys and values in bfloat16. Beside attention itself by the fused kernel: all
measures of all twelve heads from sampled rows, from every row, and attention with a tenth of each
row's weights kept. Milliseconds by CUDA events, and the device memory beyond what is there anyway.
The whole map would take 51.5 GB in fp32.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.report import Cell, print_figures, print_table
from workers.analysis.interventions.changes import attend_sparsely
from workers.analysis.measures.grid import Pooling, TokenGrid, common_boxes
from workers.analysis.measures.measure_layer import Wanted, measure_layer
from workers.analysis.measures.rows import Heads, sample_rows
from workers.analysis.measures.sparsity import kept_keys

GRID = TokenGrid(21, 30, 52)


def timed(work: Callable[[], object], rounds: int, device: str) -> tuple[float, float]:
    """Median milliseconds, and the peak device bytes beyond those held before."""
    cuda = device == "cuda"
    times, extra = [], 0.0
    for turn in range(rounds + 1):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        started = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
            extra = torch.cuda.max_memory_allocated() - before
        if turn > 0:  # the first warms up
            times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times), extra


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--frames", type=int, default=GRID.frames)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    grid = GRID._replace(frames=args.frames)
    torch.manual_seed(0)
    shape = (args.heads, grid.tokens, 128)
    query, key, value = (
        torch.randn(shape, dtype=torch.bfloat16, device=args.device) for _ in range(3)
    )
    attention = Heads(query, key, value, 128**-0.5, slice(0, grid.tokens))
    pooling = Pooling(grid, common_boxes([grid], 512))
    wanted = Wanted(pooling=pooling, by_row=False)
    sampled = sample_rows(grid.tokens, 128, device=args.device)
    every = sample_rows(grid.tokens, None, device=args.device)
    kept = kept_keys(0.1, grid.tokens)
    works: dict[str, tuple[Callable[[], object], int]] = {
        "attention": (
            lambda: F.scaled_dot_product_attention(query[None], key[None], value[None]),
            10,
        ),
        "sampled": (lambda: measure_layer([attention], grid, sampled, wanted), args.rounds),
        "exact": (lambda: measure_layer([attention], grid, every, wanted), 1),
        "sparsify": (lambda: attend_sparsely(attention, kept, None), 1),
    }
    found = {name: timed(work, rounds, args.device) for name, (work, rounds) in works.items()}
    plain = found["attention"][0]
    rows: list[list[Cell]] = [
        [name, milliseconds, milliseconds / plain, extra / 2**30]
        for name, (milliseconds, extra) in found.items()
    ]
    print_table(("one layer", "ms", "over attention", "extra GiB"), rows)
    figures = {f"{name}_ms": milliseconds for name, (milliseconds, _) in found.items()}
    figures |= {f"{name}_extra_bytes": extra for name, (_, extra) in found.items()}
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    more = {"tokens": grid.tokens, "heads": args.heads, "rows": len(sampled.index)}
    print_figures({**figures, **more, "device": device})


if __name__ == "__main__":
    main()
