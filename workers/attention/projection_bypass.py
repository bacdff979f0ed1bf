"""Form qk: where stored queries and keys take every place, nothing is projected.

On its way to the rotary embedding a query goes through a linear and, in most families, a norm.
While an edit from form qk runs, both ask the run first: where the stored tensors are the whole
query of a call, the linear gives those in place of its product, and the norm passes them on.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from workers.attention.attention_modules import AXES, AttentionModule, Axis
from workers.attention.hooks import HookState
from workers.attention.transfer import Transfer
from workers.patching import replaced

Forward = Callable[..., Tensor]


def bypasses(transfers: Iterable[Transfer | None]) -> bool:
    """Whether a run of ``transfers`` may find a query or key that is stored as it is."""
    return any(row is not None and row.form == "qk" and row.source is not None for row in transfers)


@contextmanager
def bypassed_projections(
    state: HookState, attention_modules: Iterable[AttentionModule]
) -> Iterator[None]:
    """Within the block the projections and norms compute only what is not stored.

    Their ``forward`` is replaced, outside of any that offloading or casting put there: weights
    that are not needed are not even moved. Fused projections compute as ever, since the value
    comes out of the same product. Not for compiled code, which would be compiled again for a
    module whose ``forward`` has changed: there the hooks overwrite what was computed.
    """
    with ExitStack() as forwards:
        for attn in attention_modules:
            for axis in AXES:
                projection, norm = attn.projection(axis), attn.norm(axis)
                if projection is None:
                    continue
                forward = _ask(state, attn, axis, projection.forward)
                forwards.enter_context(replaced(projection, "forward", forward))
                if norm is not None:
                    forward = _pass_on(state, axis, norm.forward)
                    forwards.enter_context(replaced(norm, "forward", forward))
        yield


def _ask(state: HookState, attn: AttentionModule, axis: Axis, project: Forward) -> Forward:
    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        stored = state.run.replacement(attn, axis, x) if state.run is not None else None
        return project(x, *args, **kwargs) if stored is None else stored

    return forward


def _pass_on(state: HookState, axis: Axis, normalise: Forward) -> Forward:
    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if state.run is not None and axis in state.run.replaced:
            return x
        return normalise(x, *args, **kwargs)

    return forward
