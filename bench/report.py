"""How every benchmark reports: a table for people, then one JSON line for machines."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence

Cell = str | float | int | None


def print_table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Columns as wide as their widest cell; numbers to the right, three significant decimals."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    print("  ".join(name.ljust(width) for name, width in zip(header, widths, strict=True)).rstrip())
    for row, texts in zip(rows, cells, strict=True):
        aligned = (
            text.ljust(width) if isinstance(cell, str) else text.rjust(width)
            for cell, text, width in zip(row, texts, widths, strict=True)
        )
        print("  ".join(aligned).rstrip())


def print_figures(figures: Mapping[str, object]) -> None:
    """The last line of a benchmark: its figures, and what they were measured on."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({**figures, "machine": machine}))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of pairs measured one right after the other.

    Pairing cancels what drifts between rounds on a shared machine, which a ratio of two medians
    does not.
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
