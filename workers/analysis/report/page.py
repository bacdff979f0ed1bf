"""One self-contained HTML page of an analysis: figures inside it, no script, every definition."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from workers.analysis.measures.estimates import Measure
from workers.analysis.report.figures import caption
from workers.analysis.results import AnalysisResult, Experiment, SourceResult

TITLES = {
    "structure": "Structure of the attention maps",
    "sparsity": "Sparsity of the attention maps",
    "sinks": "Sinks in the attention maps",
    "layer_sweep": "Layer sweep",
}
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 0 auto;
       max-width: 60rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p.note, figcaption { color: #52606d; font-size: .9rem; margin: .25rem 0 1rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: .5rem 0 1rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top;
         border-bottom: 1px solid #e6eaee; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-size: .85em; }
"""
ABOUT = (
    "After “Analysis of Attention in Video Diffusion Transformers” (arXiv 2504.10317). Definitions "
    "that the paper does not give are this project's own; each is stated below."
)


def report_page(result: AnalysisResult) -> str:
    """UTF-8 HTML; it refers to nothing outside itself."""
    title = TITLES[result.kind]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style></head><body>",
        f"<h1>{title}</h1><p class=note>{ABOUT}</p>",
        _sources(result),
        *(_figure(result, name) for name in result.figures),
    ]
    if result.experiment is not None:
        parts.append(_experiment(result.experiment))
    parts += [_by_layer(each, number) for number, each in enumerate(result.sources)]
    parts.append(_definitions(result))
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _sources(result: AnalysisResult) -> str:
    head = ["", "model", "prompt", "seed", "size", "frames", "steps", "edited from"]
    rows: list[list[Any]] = []
    for number, each in enumerate(result.spec.sources):
        run = each.generation
        edited_from = "" if each.source is None else each.source.generation.prompt
        rows.append([
            number, run.model, run.prompt, run.seed, run.size, run.num_frames,
            run.num_inference_steps, edited_from,
        ])  # fmt: skip
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    count = result.spec.sampling.rows
    sampled = "all rows" if count is None else f"about {count} rows"
    note = f"<p class=note>Measured on {sampled} of each map.</p>"
    note = "" if result.kind == "layer_sweep" else note
    return f"<h2>Sources</h2>{_table(head, rows)}{note}"


def _figure(result: AnalysisResult, name: str) -> str:
    data = base64.b64encode(result.figures[name]).decode("ascii")
    text = html.escape(caption(result.kind, name))
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _experiment(experiment: Experiment) -> str:
    parts = ["<h2>What was found</h2>"]
    for name, value in experiment.found.items():
        label = name.replace("_", " ").capitalize()
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            head = [key.replace("_", " ") for key in value[0]]
            parts.append(f"<p>{label}</p>" + _table(head, [list(each.values()) for each in value]))
        else:
            listed = ", ".join(map(str, value)) or "none"
            parts.append(f"<p>{label}: {html.escape(listed)}</p>")
    return "".join(parts)


def _by_layer(source: SourceResult, number: int) -> str:
    """Every scalar measure, layer by layer: the mean over branches, steps and heads."""
    parts = []
    for measures in source.measures.values():
        scalars = {
            name: measure for name, measure in measures.items() if measure.axes[-1] == "head"
        }
        means = [_layer_means(measure) for measure in scalars.values()]
        rows = [
            (layer, *(_number(mean[place]) for mean in means))
            for place, layer in enumerate(source.coordinates["layer"])
        ]
        heading = [name.replace("_", " ") for name in scalars]
        parts.append(
            f"<h2>Source {number}, by layer</h2>"
            "<p class=note>Mean over branches, steps and heads.</p>"
            + _table(("layer", *heading), rows)
        )
    return "".join(parts)


def _layer_means(measure: Measure) -> Any:
    gone = tuple(n for n, axis in enumerate(measure.axes) if axis != "layer")
    values = np.where(np.isnan(measure.values).all(gone, keepdims=True), 0, measure.values)
    return np.nanmean(values, axis=gone)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _definitions(result: AnalysisResult) -> str:
    every: dict[str, Measure] = {}
    for source in result.sources[:1]:
        for measures in source.measures.values():
            every |= measures
    every |= result.comparisons
    if result.experiment is not None:
        every |= result.experiment.measures
    rows = [
        (name, measure.definition, measure.unit, ", ".join(measure.axes))
        for name, measure in every.items()
    ]
    return "<h2>Definitions</h2>" + _table(("measure", "definition", "unit", "axes"), rows)


def _table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        number = isinstance(value, (int, float))
        text = _number(value) if isinstance(value, float) else str(value)
        return f"<td{' class=number' if number else ''}>{html.escape(text)}</td>"

    top = "".join(f"<th>{html.escape(str(each))}</th>" for each in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
