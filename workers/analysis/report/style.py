"""How every figure looks, and how it becomes a PNG."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from PIL import Image

INK, FAINT = "#1f2933", "#c7ced6"
BLUE, ORANGE, GREEN, RED = "#2364aa", "#e07a1f", "#2a9d5c", "#c8352b"
SHADES = "inferno"  # of maps
HEAT = "viridis"  # of numbers by layer and head
EITHER = "RdBu_r"  # of numbers around zero
MOST_PANELS = 8

STYLE: Any = {  # its keys are literals to the stubs
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "figure.facecolor": "white",
    "image.interpolation": "nearest",
}


def styled() -> AbstractContextManager[None]:
    """Within the block figures look like this: what is drawn later takes its sizes then."""
    return mpl.rc_context(STYLE)


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """(figure, axes (rows, columns)), inches. Not through pyplot: it keeps what is not closed."""
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def png(made: Figure) -> bytes:
    """In 256 colours: a third of the bytes, and no eye tells."""
    drawn, out = io.BytesIO(), io.BytesIO()
    made.savefig(drawn, format="png", dpi=140)
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def shade(place: float) -> tuple[float, ...]:
    """The colour of something at ``place`` of 0 to 1 in an order, as layers are."""
    colour: tuple[float, ...] = mpl.colormaps["viridis"](0.05 + 0.85 * place)
    return colour


def shades(count: int) -> list[tuple[float, ...]]:
    return [shade(number / max(count - 1, 1)) for number in range(count)]


def spread(count: int, most: int = MOST_PANELS) -> list[int]:
    """Which of ``count`` are shown: all, or ``most``, evenly spaced."""
    return sorted({round(each) for each in np.linspace(0, count - 1, min(count, most))})


def heat_map(
    made: Figure,
    axes: Axes,
    values: NDArray[Any],
    *,
    rows: Sequence[Any],
    columns: Sequence[Any],
    labels: tuple[str, str, str],
    **options: Any,
) -> None:
    """``values`` (rows, columns) as coloured cells. ``labels``: of rows, columns, colours."""
    axes.grid(False)
    image = axes.imshow(values, aspect="auto", **{"cmap": HEAT, **options})
    for axis, names in ((axes.yaxis, rows), (axes.xaxis, columns)):
        shown = spread(len(names), 16)
        axis.set_ticks(shown, [str(names[each]) for each in shown])
    axes.set_ylabel(labels[0])
    axes.set_xlabel(labels[1])
    bar = made.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(labels[2])
    bar.outline.set_visible(False)
    plain_numbers(bar.ax.yaxis)


def plain_numbers(axis: Axis) -> None:
    """Write 30 and not 3 x 10^1 along a logarithmic axis; of the numbers between, 2, 3 and 5."""
    if axis.get_scale() != "log":
        return

    def written(value: float, _: int) -> str:
        return f"{value:g}" if f"{value:e}"[0] in "1235" else ""

    axis.set_major_formatter(FuncFormatter(written))
    axis.set_minor_formatter(FuncFormatter(written))


def legend_below(made: Figure, axes: Axes, columns: int = 5) -> None:
    """One legend for all axes of ``made``, out of ``axes``' lines, below them."""
    handles, names = axes.get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)))
