"""All measures of one layer's heads, in one pass over its rows."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from workers.analysis.measures import blocks, sinks, sparsity, structure
from workers.analysis.measures.estimates import Definition, Estimates
from workers.analysis.measures.grid import Pooling, TokenGrid
from workers.analysis.measures.likeness import Signature, SignatureOf
from workers.analysis.measures.rows import Heads, Rows, row_blocks

Finding = Literal["structure", "sparsity", "sinks"]
FINDINGS: tuple[Finding, ...] = ("structure", "sparsity", "sinks")

DEFINITIONS: dict[Finding, dict[str, Definition]] = {
    "structure": structure.DEFINITIONS,
    "sparsity": sparsity.DEFINITIONS | blocks.DEFINITIONS,
    "sinks": sinks.DEFINITIONS,
}


@dataclass(frozen=True)
class Wanted:
    """What is measured. ``densities``, ``masses``: of the sparsity measures.

    ``pooling``: of the signature; None: none is made. ``by_row``: as in ``SignatureOf``.
    """

    findings: tuple[Finding, ...] = FINDINGS
    densities: tuple[float, ...] = sparsity.DENSITIES
    masses: tuple[float, ...] = sparsity.MASSES
    pooling: Pooling | None = None
    by_row: bool = True


@dataclass(frozen=True)
class LayerMeasures:
    """What one layer showed. ``received``: m_j of every token, (H, N) fp64, times N'."""

    estimates: dict[Finding, Estimates] = field(default_factory=dict)
    signature: Signature | None = None
    block_set: blocks.BlockSet | None = None
    received: Tensor | None = None


def measure_layer(
    folds: list[Heads],
    grid: TokenGrid,
    rows: Rows,
    wanted: Wanted,
    block_bytes: int | None = None,
) -> LayerMeasures:
    """One pass over ``rows``; memory is a few blocks of ``block_bytes`` beside what is returned.

    ``folds``: one map of each head, or as many as ``rows.folds`` where frames or places are folded
    into the batch; measured is then their mean map.
    """
    heads = folds[0].heads
    of_structure = of_sparsity = of_blocks = of_sinks = of_signature = None
    if "structure" in wanted.findings:
        of_structure = structure.StructureOf(heads, grid, rows)

    if "sparsity" in wanted.findings:
        of_sparsity = sparsity.SparsityOf(rows, wanted.densities, wanted.masses)
        of_blocks = blocks.BlocksOf(heads, rows, wanted.densities)
    if "sinks" in wanted.findings:
        of_sinks = sinks.SinksOf(folds, grid, rows)
    if wanted.pooling is not None:
        of_signature = SignatureOf(heads, rows, wanted.pooling, by_row=wanted.by_row)
    gathering = [
        each
        for each in (of_structure, of_sparsity, of_blocks, of_sinks, of_signature)
        if each is not None
    ]
    for fold in folds:
        for block in row_blocks(fold, rows, block_bytes):
            for each in gathering:
                each.add(block)
    estimates: dict[Finding, Estimates] = {}
    if of_structure is not None:
        estimates["structure"] = of_structure.estimates()
    if of_sparsity is not None and of_blocks is not None:
        estimates["sparsity"] = of_sparsity.estimates() | of_blocks.estimates()
    if of_sinks is not None:
        estimates["sinks"] = of_sinks.estimates()
    return LayerMeasures(
        estimates=estimates,
        signature=None if of_signature is None else of_signature.signature(),
        block_set=None if of_blocks is None else of_blocks.best_set(),
        received=None if of_sinks is None else of_sinks.received() * of_sinks.keys,
    )
