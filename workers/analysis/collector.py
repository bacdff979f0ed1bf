"""What is measured of a run, and the collector that measures it, call by call of its attention."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.attention import Branch, Form
from schemas.capture_plan import Needed
from schemas.recipes import Recipe
from workers.analysis.attention_calls import AttentionCall, Stock, layer_grid, unseen
from workers.analysis.measures.blocks import BlockSet
from workers.analysis.measures.estimates import Estimates, Measure, Stacked
from workers.analysis.measures.grid import Pooling, TokenGrid, common_boxes
from workers.analysis.measures.likeness import Signature
from workers.analysis.measures.measure_layer import (
    DEFINITIONS,
    FINDINGS,
    Finding,
    Wanted,
    measure_layer,
)
from workers.analysis.measures.motion import motion_flow
from workers.analysis.measures.pictured import Pictured, pictured
from workers.analysis.measures.rows import Heads, sample_rows
from workers.analysis.measures.sparsity import DENSITIES, MASSES
from workers.attention.attention_modules import AttentionModule
from workers.attention.maps import Address, MapSource
from workers.models.pipelines import LoadedModel

AXES = ("branch", "step", "layer")  # then head, then what a measure has of its own
MOST_FOLDS = 8  # maps of one layer that are looked at where frames or places are folded together
# what a map of one frame alone says nothing of
OF_FRAMES = ("motion", "received_by_frame")


@dataclass(frozen=True)
class CollectPlan:
    """What is measured of a run. ``heads`` None: all of them.

    ``rows``: how many of each map are looked at, None all. ``boxes``: of the signatures that maps
    are compared by; None: none are kept. ``by_row``: of signatures, as in ``SignatureOf``.
    ``pictured``: the step and branch whose maps are drawn.
    """

    layers: tuple[int, ...]
    steps: tuple[int, ...]
    branches: tuple[Branch, ...]
    heads: tuple[int, ...] | None = None
    findings: tuple[Finding, ...] = FINDINGS
    rows: int | None = 128
    seed: int = 0
    densities: tuple[float, ...] = DENSITIES
    masses: tuple[float, ...] = MASSES
    boxes: TokenGrid | None = None
    by_row: bool = True
    pictured: tuple[int, Branch] | None = None

    @property
    def needed(self) -> Needed:
        """What stored attention must hold to be read in place of a run."""
        return Needed(frozenset(self.layers), frozenset(self.steps), frozenset(self.branches))


@dataclass(frozen=True)
class Collected:
    """What a run showed. ``heads``: which ones the measures' axis counts.

    ``received``: m_j of the pictured maps, (H, N) in times chance. ``flows``: the median over the
    heads of the pictured maps' motion, (F - 1, rows, columns, 2).
    """

    plan: CollectPlan
    grid: TokenGrid
    heads: tuple[int, ...]
    tables: dict[Finding, Stacked]
    signatures: dict[Address, Signature] = field(default_factory=dict)
    block_sets: dict[Address, BlockSet] = field(default_factory=dict)
    received: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    pictures: dict[int, Pictured] = field(default_factory=dict)
    flows: dict[int, NDArray[np.int16]] = field(default_factory=dict)

    def measures(self, finding: Finding) -> dict[str, Measure]:
        return self.tables[finding].measures(DEFINITIONS[finding])


class StoredValues:
    """The values of a run whose stored hidden states are at hand.

    What the run itself computes are not the source's: only queries and keys are put in.
    """

    def __init__(self, source: MapSource, form: Form) -> None:
        self._source, self._form = source, form

    def of(self, call: AttentionCall, branch: Branch) -> Tensor | None:
        """(folds, H, N, d), or None where the stored tensors do not tell."""
        whole = call.video == slice(0, call.query.shape[2])
        if not tells_values(call.attn, self._form) or not whole:
            return None
        to_v = value_projection(call.attn)
        hidden = self._source.get(Address(call.run.step, branch, call.attn.layer), "hidden")
        value: Tensor = to_v.forward(hidden)
        return value.reshape(*value.shape[:2], call.value.shape[1], -1).transpose(1, 2)


def tells_values(attn: AttentionModule, form: Form) -> bool:
    """Whether what is stored in ``form`` tells the layer's values."""
    return form == "hidden" and attn.fused is None and value_projection(attn) is not None


def value_projection(attn: AttentionModule) -> Any:
    return getattr(attn.module, "to_v", None) or getattr(attn.module, "to_value", None)


class Collector:
    """Looks at each call of attention in one run.

    ``values``: given, the run's n-th step is the n-th wanted one, out of stored attention.
    """

    def __init__(
        self,
        model: LoadedModel,
        recipe: Recipe,
        plan: CollectPlan,
        values: StoredValues | None = None,
    ) -> None:
        generation = recipe.generation
        self._model, self._values = model, values
        self._of_film = recipe.film is not None
        size = model.card.grid.tokens(generation.width, generation.height, generation.num_frames)
        heads = plan.heads or tuple(range(model.card.heads))
        places = (len(plan.branches), len(plan.steps), len(plan.layers))
        self.collected = Collected(
            plan=plan,
            grid=TokenGrid(*size),
            heads=heads,
            tables={name: Stacked(AXES, places) for name in plan.findings},
        )
        self._seen: set[Address] = set()

    def handle(self, call: AttentionCall, stock: Stock) -> Tensor:
        plan, layer = self.collected.plan, call.attn.layer
        step = self._step(call.run.step)
        # a run whose attention is kept for the edit's; one along a film names its steps thus
        a_sources = call.run.capture is not None and not self._of_film
        if step is not None and layer in plan.layers and not a_sources:
            for branch in plan.branches:
                part = call.part(branch)
                if part is not None:
                    self._measure(call, part, Address(step, branch, layer))
        return stock()

    def _step(self, at: int) -> int | None:
        """Which wanted step the run's step ``at`` is."""
        steps = self.collected.plan.steps
        if self._values is not None:
            return steps[at] if at < len(steps) else None
        return at if at in steps else None

    def check_step(self, at: int) -> None:
        """Behind a step of the run: every wanted layer must have been seen."""
        plan, step = self.collected.plan, self._step(at)
        if step is None:
            return
        missed = {
            layer
            for layer in plan.layers
            for branch in plan.branches
            if Address(step, branch, layer) not in self._seen
        }
        if missed:
            raise unseen(self._model, missed)

    def _measure(self, call: AttentionCall, part: slice, address: Address) -> None:
        plan, collected = self.collected.plan, self.collected
        folds = self._folds(call, part, address.branch)
        grid = layer_grid(call.attn, collected.grid, folds[0].tokens)
        rows = sample_rows(grid.tokens, plan.rows, plan.seed, folds[0].key.device, folds=len(folds))
        pooling = None
        if plan.boxes is not None:
            pooling = Pooling(grid, common_boxes([grid, plan.boxes], plan.boxes.tokens))
        wanted = Wanted(plan.findings, plan.densities, plan.masses, pooling, plan.by_row)
        found = measure_layer(folds, grid, rows, wanted)
        place = (
            plan.branches.index(address.branch),
            plan.steps.index(address.step),
            plan.layers.index(address.layer),
        )
        for finding, estimates in found.estimates.items():
            if grid.frames != collected.grid.frames:
                estimates = _without_frames(estimates)
            collected.tables[finding].put(place, estimates)
        if found.signature is not None:
            collected.signatures[address] = found.signature
        if found.block_set is not None:
            collected.block_sets[address] = found.block_set
        if plan.pictured == (address.step, address.branch):
            self._draw(folds[0], grid, found.received, address.layer)
        self._seen.add(address)

    def _draw(self, attention: Heads, grid: TokenGrid, received: Tensor | None, layer: int) -> None:
        self.collected.pictures[layer] = pictured(attention, grid)
        if received is not None:
            self.collected.received[layer] = received.float().cpu().numpy()
        if grid.frames > 1:
            flow = motion_flow(attention, grid).median(dim=0).values
            self.collected.flows[layer] = flow.numpy().astype(np.int16)

    def _folds(self, call: AttentionCall, part: slice, branch: Branch) -> list[Heads]:
        """The maps of a part of the batch: one, or some of those that are folded into it."""
        heads = list(self.collected.heads)
        values = None if self._values is None else self._values.of(call, branch)
        found = []
        for fold in folds_of(part.stop - part.start):
            each = call.heads(part.start + fold, heads)
            if self._values is not None:
                value = None if values is None else values[fold, heads]
                each = Heads(each.query, each.key, value, each.scale, each.video, each.mask)
            found.append(each)
        return found


def folds_of(size: int) -> list[int]:
    """Which of ``size`` maps that are folded into the batch are looked at: some, evenly spaced."""
    return [int(each) for each in torch.linspace(0, size - 1, min(size, MOST_FOLDS))]


def _without_frames(estimates: Estimates) -> Estimates:
    return {name: each for name, each in estimates.items() if name not in OF_FRAMES}
