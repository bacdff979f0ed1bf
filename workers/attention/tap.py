"""The hooks on a pipeline's self-attention, and the one run that they serve at a time.

Hooks are installed once, on every layer, before anything is compiled: hooks added later would be
silently ignored. They are off unless a run is open.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from schemas.attention import Branch
from workers.attention.dense import DenseAttention
from workers.attention.hooks import Switch, install
from workers.attention.rerun import keep_inputs
from workers.attention.run import Capture, Run, Transfer
from workers.attention.sites import Site, find_sites
from workers.attention.skip import skipped_projections, skips
from workers.families.base import Family, Pipeline


class Tap:
    """Taps every self-attention layer of every transformer of ``pipeline``.

    ``sites``: all of them, transformer by transformer in forward order. Layers are numbered within
    their transformer: a step runs one of them, so (step, layer) names one module.
    """

    def __init__(self, pipeline: Pipeline, family: Family) -> None:
        self.family = family
        self.transformers: list[nn.Module] = family.transformers_of(pipeline)
        self.sites: list[Site] = []
        self._sites_of: dict[int, list[Site]] = {}
        self._switch = Switch()
        self._compiled = False
        for transformer in self.transformers:
            sites = find_sites(
                transformer,
                family.attention,
                interleaved=family.interleaved,
            )
            for site in sites:
                install(self._switch, site)
            signature = inspect.signature(type(transformer).forward)
            transformer.register_forward_pre_hook(
                partial(self._before_call, signature), with_kwargs=True
            )
            transformer.register_forward_hook(partial(self._after_call, sites))
            self.sites.extend(sites)
            self._sites_of[id(transformer)] = sites

    @property
    def current(self) -> Run | None:
        """The open run, if any."""
        return self._switch.run

    @property
    def layers(self) -> int:
        """How many layers a step has."""
        return max((site.layer + 1 for site in self.sites), default=0)

    def compile(self, backend: str) -> None:
        """Compile the transformer blocks that hold a site each, once for all layers."""
        for transformer in self.transformers:
            for site in self.sites_of(transformer):
                transformer.get_submodule(site.block).compile(backend=backend)
        self._compiled = True

    def sites_of(self, transformer: nn.Module) -> list[Site]:
        return self._sites_of[id(transformer)]

    @contextmanager
    def run(
        self,
        *,
        total_steps: int,
        branches: tuple[Branch, ...],
        tokens: int,
        capture: Capture | None = None,
        rows: tuple[Transfer | None, ...] = (None,),
    ) -> Iterator[Run]:
        """Capture and transfer within the block; the hooks are off again however it ends."""
        if self._switch.active:
            raise RuntimeError("this pipeline is in use: one generation at a time")
        with self.swapped_in(
            Run(
                total_steps=total_steps,
                branches=branches,
                batched=self.family.batched,
                extra_calls=self.family.extra_calls,
                tokens=tokens,
                capture=capture,
                rows=rows,
            )
        ) as run:
            forms = {row.form for row in rows if row is not None}
            with ExitStack() as ways:
                if "dense" in forms or (capture is not None and capture.form == "dense"):
                    ways.enter_context(DenseAttention(run))
                if skips(rows) and not self._compiled:
                    ways.enter_context(skipped_projections(self._switch, self.sites))
                yield run

    @contextmanager
    def swapped_in(self, run: Run) -> Iterator[Run]:
        """Let ``run`` have the hooks within the block, then give them back to the one before."""
        before = self._switch.run
        self._switch.set(run)
        try:
            yield run
        finally:
            self._switch.set(before)

    def _before_call(
        self,
        signature: inspect.Signature,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        run = self._switch.run
        if run is not None:
            inputs = dict(signature.bind(module, *args, **kwargs).arguments)
            del inputs["self"]
            run.begin_call(module, inputs)
            keep_inputs(self.family, run, module, inputs)

    def _after_call(self, sites: list[Site], _: nn.Module, __: tuple[Any, ...], ___: Any) -> None:
        if self._switch.run is not None:
            self._switch.run.end_call(sites)
