"""Where a run is: its step, its call, and the branches that the call computes.

Steps count the iterations of the denoising loop, never the scheduler's own steps or timesteps:
some schedulers step twice an iteration, and some have a time for each frame.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from schemas.attention import Branch
from schemas.errors import AttentionMissed
from workers.attention.attention_modules import AXES, AttentionModule, Axis


class Position:
    """``branches``: those of a step, in the order of its calls, or of its batch if ``batched``.

    ``extra_calls``: how many more a step may make; they are left alone. ``row_count``: how many
    videos are made together. ``partial_steps``: those in which layers may be left out.
    ``checked``: whether a call or a layer that does not come as expected would make a wrong video
    or a wrong count; other runs are only counted.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        branches: tuple[Branch, ...],
        batched: bool,
        extra_calls: int,
        row_count: int,
        partial_steps: Collection[int] = (),
        checked: bool = True,
    ) -> None:
        self.checked = checked
        self.total_steps = total_steps
        self.branches = branches
        self.batched = batched
        self.expected = 1 if batched else len(branches)
        self.extra_calls = extra_calls
        self.row_count = row_count
        self.partial_steps = partial_steps
        self.step = 0
        self.calls = 0
        self.here: tuple[Branch, ...] = ()
        self.module: nn.Module | None = None
        self.inputs: dict[str, Any] = {}
        self.passes = 0.0  # of the transformer over one video and branch: what the run has cost
        self._cost: float = 0  # of the call under way, or of the part that is being computed
        self.visits: dict[tuple[int, Axis], int] = {}

    def begin_call(
        self, module: nn.Module, inputs: dict[str, Any], batch: int | None = None
    ) -> None:
        """A transformer is called: the branches that it computes follow from its place.

        ``batch``: how many videos and branches it was called with, where that is to be checked.
        """
        if self.checked:
            self._begin_checked(batch)
        self._cost = batch or max(1, len(self.here)) * self.row_count
        self.passes += self._cost
        self.module, self.inputs = module, inputs
        self.visits.clear()
        self.forget()

    def _begin_checked(self, batch: int | None) -> None:
        if self.calls >= self.expected + self.extra_calls or self.step >= self.total_steps:
            raise AttentionMissed(
                f"call {self.calls + 1} of step {self.step}; expected are {self.expected} calls "
                f"in each of {self.total_steps} steps"
            )
        if self.calls >= self.expected:
            self.here = ()
        else:
            self.here = self.branches if self.batched else (self.branches[self.calls],)
        self.calls += 1
        expected = max(1, len(self.here)) * self.row_count
        if batch not in (None, expected):
            raise AttentionMissed(
                f"call {self.calls} of step {self.step} has a batch of {batch}, not {expected}: "
                f"{self.row_count} videos in {len(self.here) or 1} branches"
            )

    @contextmanager
    def narrowed(self, branch: Branch, inputs: dict[str, Any]) -> Iterator[None]:
        """Within the block the call computes ``branch`` alone, on ``inputs``."""
        whole = self.here, self.inputs
        self.here, self.inputs = (branch,), inputs
        try:
            with self.costing(self.row_count, self._cost):
                yield
        finally:
            self.here, self.inputs = whole

    @contextmanager
    def costing(self, passes: float, counted: float) -> Iterator[None]:
        """Within the block a part of the call is computed: ``passes`` where ``counted`` were."""
        whole = self._cost
        self.passes += passes - counted
        self._cost = passes
        try:
            yield
        finally:
            self._cost = whole

    def pass_by(self, attention_modules: Iterable[AttentionModule]) -> None:
        """The call is answered without being made: its layers are not missed, but not needed."""
        self.passes -= self._cost
        for attn in attention_modules:
            for axis in AXES:
                self.visit(attn, axis)

    @property
    def extra_call(self) -> int | None:
        """Which of the step's calls for other kinds of guidance this is, from 0; None: none."""
        extra = self.calls - self.expected - 1
        return extra if extra >= 0 else None

    def end_call(self, attention_modules: list[AttentionModule]) -> None:
        """The call is over: every layer must have shown both its query and its key once.

        In a partial step the pass counts as the share of the layers that were computed.
        """
        self.module, self.inputs = None, {}
        self.forget()
        if self.step in self.partial_steps:
            left_out = 1 - len(self.visits) / (len(AXES) * len(attention_modules))
            self.passes -= max(1, len(self.here)) * self.row_count * left_out
            return
        for attn in attention_modules if self.checked else ():
            for axis in AXES:
                visits = self.visits.get((attn.layer, axis), 0)
                if visits != 1:
                    raise AttentionMissed(
                        f"layer {attn.layer} ({attn.path}) showed its {axis} {visits} times "
                        f"in step {self.step}, not once"
                    )

    def end_step(self) -> None:
        if self.checked and self.calls < self.expected:
            raise AttentionMissed(
                f"step {self.step} made {self.calls} transformer calls, not {self.expected}"
            )
        self.step += 1
        self.calls = 0

    @property
    def batch(self) -> int:
        """How many videos and branches this call computes together."""
        return len(self.here) * self.row_count

    def visit(self, attn: AttentionModule, axis: Axis) -> None:
        """A projection of ``attn`` is called."""
        self.visits[attn.layer, axis] = self.visits.get((attn.layer, axis), 0) + 1

    def forget(self) -> None:
        """Let go of what was held for one layer."""
