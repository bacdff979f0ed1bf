"""Anchored edits: the transformer's calls answered from the source's outputs.

The stock pipeline and its scheduler run as ever; what the transformer gives them differs. At a
computed step the edit's cond branch is run on its own latents, and its difference d from the
source's cond output is kept until the next such step. Every call, of whatever branch, is answered
with what the source's gave plus scale · d: the pipeline's own guidance then makes the source's
guided velocity plus scale · d, whatever its formula, since all branches are moved alike.

With an anchor's region a row computes only the tokens that it changes
(``workers.generation.region``); what is left out is its source's, and its difference zero. Of an
edit that is kept to a region of its source, the difference is zero outside
(``workers.generation.mask``).

The idea of a difference of velocities is FlowEdit's (arXiv 2412.08629); keeping d, transferring the
maps (arXiv 2504.10317) and leaving out uncond were measured here: docs/experiments/model.md.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from schemas.capture_plan import COMPUTED, INPUTS, OUTPUTS
from workers.attention.attention_hooks import AttentionHooks
from workers.attention.maps import Address, MapSource
from workers.attention.run import Run
from workers.attention.transfer import Transfer
from workers.attention.transformer_calls import extra_names, tensors_of
from workers.generation.region import ActiveTokens, TokenGrid
from workers.generation.wan_tokens import inputs_of, patch_of, some_tokens
from workers.patching import replaced

Tensors = tuple[Tensor, ...]


@contextmanager
def anchored_calls(
    hooks: AttentionHooks, run: Run, masks: Sequence[Tensor | None] = ()
) -> Iterator[None]:
    """Answer the transformers' calls of ``run`` within the block, if its rows are anchored.

    ``masks``: of each row, by how much its difference counts where in the latents; None: wholly.
    """
    rows = [each for each in run.transfers if each is not None and each.outputs is not None]
    if not rows:
        yield
        return
    assert len(rows) == len(run.transfers), "rows that follow and rows that do not, in one batch"
    (computed_steps,) = {transfer.resolved.computed_steps for transfer in rows}
    answers = AnchoredCalls(hooks, run, rows, computed_steps, masks)
    with ExitStack() as stack:
        if answers.regions:
            stack.enter_context(some_tokens(hooks))
        for transformer in hooks.transformers:
            stack.enter_context(replaced(transformer, "forward", answers.forward_of(transformer)))
        yield


class AnchoredCalls:
    """Of one run: each row of the batch follows the outputs that its transfer names."""

    def __init__(
        self,
        hooks: AttentionHooks,
        run: Run,
        transfers: Sequence[Transfer],
        computed_steps: tuple[int, ...],
        masks: Sequence[Tensor | None] = (),
    ) -> None:
        self._hooks, self._run, self._transfers = hooks, run, transfers
        self._masks = masks or [None] * len(transfers)
        self._differences: list[Tensors] = []  # scale · d of each row, float32: (1, …)
        self._returned: Any = None  # what the transformer gave last, for its type
        self._held: dict[tuple[int, Address, str], Tensor] = {}  # what this step has read
        self._computed_steps = computed_steps
        self.regions: dict[int, ActiveTokens] = {}  # by row; the others compute all tokens
        for row, transfer in enumerate(transfers):
            anchor = transfer.resolved.anchor
            if anchor is not None and anchor.region is not None:
                patch = patch_of(hooks.transformers[0])
                self.regions[row] = ActiveTokens(anchor.region, patch)

    def forward_of(self, transformer: nn.Module) -> Any:
        """The transformer's forward, made only where something is to be computed."""
        compute = transformer.forward
        signature = inspect.signature(type(transformer).forward)

        def forward(*args: Any, **kwargs: Any) -> Any:
            run = self._run
            if self._hooks.current is not run:  # a source's, between this run's steps
                return compute(*args, **kwargs)
            self._held = {key: each for key, each in self._held.items() if key[1].step == run.step}
            if "cond" in run.here and run.step in self._computed_steps:
                inputs = dict(signature.bind(transformer, *args, **kwargs).arguments)
                del inputs["self"]
                narrow = self._narrowed(inputs)
                with run.narrowed("cond", narrow):
                    self._note(self._computed(transformer, compute, narrow))
            else:
                run.pass_by(self._hooks.modules_of(transformer))
            return _like(self._returned, self._answer())

        return forward

    def _narrowed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """``inputs`` of the cond branch alone: its part of whatever holds the whole batch."""
        run = self._run
        if len(run.here) == 1:
            return inputs
        rows, first = run.row_count, run.here.index("cond") * run.row_count
        return _part(inputs, run.batch, slice(first, first + rows))

    def _computed(self, transformer: nn.Module, compute: Any, inputs: dict[str, Any]) -> Tensors:
        """The edits' cond outputs (rows, …); a source's where a region leaves it as it is."""
        if all(region.chosen is None for region in self.regions.values()):
            self._returned = compute(**inputs)
            return tensors_of(self._returned)
        rows = [self._one(transformer, compute, inputs, row) for row in range(len(self._transfers))]
        return tuple(torch.cat(each) for each in zip(*rows, strict=True))

    def _one(
        self, transformer: nn.Module, compute: Any, inputs: dict[str, Any], row: int
    ) -> Tensors:
        """As ``_computed``, of one row: each has tokens of its own."""
        run, rows = self._run, len(self._transfers)
        region = self.regions.get(row)
        chosen = None if region is None else region.chosen
        own = _part(inputs, rows, slice(row, row + 1))
        if chosen is None:
            with run.one_row(row, own), run.costing(1, 1):
                self._returned = compute(**own)
            return tensors_of(self._returned)
        followed = self._source_computed(self._transfers[row])
        active = chosen.nonzero().flatten()
        with run.one_row(row, own, active), run.costing(len(active) / run.tokens, 1):
            if not len(active):
                run.pass_by(self._hooks.modules_of(transformer))
                return followed
            self._returned = compute(**inputs_of(own, active))
        outputs = tensors_of(self._returned)
        places = TokenGrid.of(outputs[0], patch_of(transformer)).spread(chosen)
        return tuple(
            torch.where(places, edit, source)
            for edit, source in zip(outputs, followed, strict=True)
        )

    def _note(self, outputs: Tensors) -> None:
        """Keep how the edits' cond ``outputs`` (rows, …) differ from their sources'.

        With one prompt and one picture both are the same function of the same latents, and what
        differs is the rounding of another batch size alone: the source is then followed exactly.
        """
        run = self._run
        self._differences = []
        for row, transfer in enumerate(self._transfers):
            own = tuple(each[row : row + 1] for each in outputs)
            anchor = transfer.resolved.anchor
            assert anchor is not None
            source = own if transfer.same_inputs else self._source_computed(transfer)
            differences = tuple(
                edit.float() - followed.float() for edit, followed in zip(own, source, strict=True)
            )
            if row in self.regions:
                differences = (self.regions[row].take(*differences),)
            if transfer.on_difference is not None:
                transfer.on_difference(differences[0])
            mask = self._masks[row]
            if mask is not None:
                differences = tuple(each * mask.to(each.device) for each in differences)
            self._differences.append(tuple(anchor.scale * each for each in differences))
        if run.capture is not None and run.capture.plan.outputs:
            for name, tensor in zip(COMPUTED, outputs, strict=False):
                run.capture.sink.put(Address(run.step, "cond", INPUTS), name, tensor[-1:])

    def _source_computed(self, transfer: Transfer) -> Tensors:
        """What the source's transformer gave in cond: behind its answer, if it is anchored too."""
        names = COMPUTED if transfer.follows_anchored else OUTPUTS
        return self._read(transfer, Address(self._run.step, "cond", INPUTS), names)

    def _answer(self) -> Tensors:
        """(branches · rows, …), as the call would have given it."""
        run = self._run
        if run.extra_call is not None:
            address, names = Address(run.step, "cond", INPUTS), extra_names(run.extra_call)
            parts = [self._moved(row, address, names) for row in range(len(self._transfers))]
        else:
            parts = [
                self._moved(row, Address(run.step, branch, INPUTS), OUTPUTS)
                for branch in run.here
                for row in range(len(self._transfers))
            ]
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def _moved(self, row: int, address: Address, names: tuple[str, ...]) -> Tensors:
        """The source's output moved by the row's difference, in the output's dtype."""
        followed = self._read(self._transfers[row], address, names)
        if not self._differences:  # nothing was computed yet
            return followed
        return tuple(
            (output.float() + difference).to(output.dtype)
            for output, difference in zip(followed, self._differences[row], strict=True)
        )

    def _read(self, transfer: Transfer, address: Address, names: tuple[str, ...]) -> Tensors:
        count = 1 if self._returned is None else len(tensors_of(self._returned))
        return tuple(self._once(transfer.outputs, address, name) for name in names[:count])

    def _once(self, source: MapSource | None, address: Address, name: str) -> Tensor:
        """Rows share a source, and a difference and an answer its output."""
        assert source is not None
        key = (id(source), address, name)
        if key not in self._held:
            self._held[key] = source.get(address, name)
        return self._held[key]


def _part(inputs: dict[str, Any], batch: int, rows: slice) -> dict[str, Any]:
    """``inputs`` of some rows: a part of whatever holds the whole batch."""
    return {
        name: value[rows]
        if isinstance(value, Tensor) and value.ndim and len(value) == batch
        else value
        for name, value in inputs.items()
    }


def _like(returned: Any, answer: Tensors) -> Any:
    """``answer`` in the type that the transformer gives; before it was called, in diffusers'."""
    if returned is None:
        return Transformer2DModelOutput(sample=answer[0])
    return answer if isinstance(returned, tuple) else type(returned)(*answer)
