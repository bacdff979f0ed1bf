"""The hooks on a pipeline's self-attention, and the one run that they serve at a time.

Hooks are installed once, on every layer, before anything is compiled: hooks added later would be
silently ignored. They are off unless a run is open.
"""

import inspect
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from schemas.attention import Branch
from workers.attention.attention_modules import AttentionModule, find_attention_modules
from workers.attention.dense import DenseAttention
from workers.attention.hooks import HookState, install
from workers.attention.projection_bypass import bypassed_projections, bypasses
from workers.attention.run import Run
from workers.attention.transfer import Capture, Transfer
from workers.attention.transformer_calls import batch_of, keep_inputs, keep_outputs
from workers.families.base import Family, Pipeline


class AttentionHooks:
    """Hooks on every self-attention layer of every transformer of ``pipeline``.

    ``attention_modules``: all of them, transformer by transformer in forward order. Layers are
    numbered within their transformer: a step runs one of them, so (step, layer) names one module.
    """

    def __init__(self, pipeline: Pipeline, family: Family) -> None:
        self.family = family
        self.transformers: list[nn.Module] = family.transformers_of(pipeline)
        self.attention_modules: list[AttentionModule] = []
        self._modules_of: dict[int, list[AttentionModule]] = {}
        self._state = HookState()
        self._compiled = False
        self._watchers = 0
        for transformer in self.transformers:
            attention_modules = find_attention_modules(
                transformer,
                family.attention,
                interleaved=family.interleaved,
            )
            for attn in attention_modules:
                install(self._state, attn)
            signature = inspect.signature(type(transformer).forward)
            transformer.register_forward_pre_hook(
                partial(self._before_call, signature), with_kwargs=True
            )
            transformer.register_forward_hook(partial(self._after_call, attention_modules))
            self.attention_modules.extend(attention_modules)
            self._modules_of[id(transformer)] = attention_modules

    @property
    def current(self) -> Run | None:
        """The open run, if any."""
        return self._state.run

    @property
    def layers(self) -> int:
        """How many layers a step has."""
        return max((attn.layer + 1 for attn in self.attention_modules), default=0)

    def compile(self, backend: str) -> None:
        """Compile the transformer blocks that hold a attn each, once for all layers."""
        for transformer in self.transformers:
            for attn in self.modules_of(transformer):
                transformer.get_submodule(attn.block).compile(backend=backend)
        self._compiled = True

    def modules_of(self, transformer: nn.Module) -> list[AttentionModule]:
        return self._modules_of[id(transformer)]

    @contextmanager
    def run(
        self,
        *,
        total_steps: int,
        branches: tuple[Branch, ...],
        tokens: int,
        capture: Capture | None = None,
        transfers: tuple[Transfer | None, ...] = (None,),
        partial_steps: Collection[int] = (),
    ) -> Iterator[Run]:
        """Capture and transfer within the block; the hooks are off again however it ends.

        In ``partial_steps`` layers may be left out; elsewhere that raises AttentionMissed.
        """
        if self._state.run is not None:
            raise RuntimeError("this pipeline is in use: one generation at a time")
        run = Run(
            total_steps=total_steps,
            branches=branches,
            batched=self.family.batched,
            extra_calls=self.family.extra_calls,
            tokens=tokens,
            capture=capture,
            transfers=transfers,
            partial_steps=partial_steps,
        )
        run.checked = run.checked or self._watchers > 0
        run.may_share = not self._compiled  # a compiled projection keeps its shapes
        with self.swapped_in(run):
            forms = {row.form for row in transfers if row is not None}
            with ExitStack() as ways:
                if "dense" in forms or (capture is not None and capture.plan.form == "dense"):
                    ways.enter_context(DenseAttention(run))
                if bypasses(transfers) and not self._compiled:
                    ways.enter_context(bypassed_projections(self._state, self.attention_modules))
                yield run

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block runs know their layers and branches, though nothing is kept or taken:
        somebody looks at the attention itself."""
        self._watchers += 1
        if self._state.run is not None:
            self._state.run.checked = True
            self._state.set(self._state.run)
        try:
            yield
        finally:
            self._watchers -= 1

    @contextmanager
    def swapped_in(self, run: Run) -> Iterator[Run]:
        """Let ``run`` have the hooks within the block, then give them back to the one before."""
        before = self._state.run
        self._state.set(run)
        try:
            yield run
        finally:
            self._state.set(before)

    def _before_call(
        self,
        signature: inspect.Signature,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        run = self._state.run
        if run is not None:
            inputs = dict(signature.bind(module, *args, **kwargs).arguments)
            del inputs["self"]
            run.begin_call(module, inputs, batch_of(self.family, inputs))
            keep_inputs(self.family, run, module, inputs)

    def _after_call(
        self,
        attention_modules: list[AttentionModule],
        _: nn.Module,
        __: tuple[Any, ...],
        outputs: Any,
    ) -> None:
        run = self._state.run
        if run is not None:
            keep_outputs(run, outputs)
            run.end_call(attention_modules)
