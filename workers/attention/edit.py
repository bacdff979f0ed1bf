"""From resolved specs to what a run exchanges and keeps."""

from schemas.artifacts import CapturePlan
from schemas.attention import Form
from schemas.selection import ResolvedTransfer
from workers.attention.maps import MapSink, MapSource
from workers.attention.run import Capture, Transfer


def capture_into(sink: MapSink, plan: CapturePlan) -> Capture:
    return Capture(
        form=plan.form,
        layers=frozenset(plan.layers),
        steps=frozenset(plan.steps),
        branches=frozenset(plan.branches),
        sink=sink,
        hidden_layers=frozenset(plan.hidden_layers),
    )


def transfer_from(source: MapSource | None, form: Form, resolved: ResolvedTransfer) -> Transfer:
    """A transfer out of ``source``, or (None) out of the row above in the same batch.

    ``form``: of what the source yields; stored latents are rerun and yield ``hidden``.
    """
    return Transfer(
        form="hidden" if form == "latents" else form,
        layers=frozenset(resolved.layers),
        steps=frozenset(resolved.steps),
        branches=frozenset(resolved.branches),
        strength=resolved.strength_at,
        source=source,
        heads=resolved.heads,
        source_branch="cond" if resolved.source_branch == "cond" else None,
    )
