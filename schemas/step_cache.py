"""Step caches: blocks of the transformer that a generation leaves out."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Frozen

StepCacheMethod = Literal["first_block", "taylorseer"]
THRESHOLD = 0.1


class StepCache(Frozen):
    """One of diffusers' step caches: blocks are left out of steps that earlier ones foretell.

    ``method``: ``first_block`` (as ParaAttention does it, after TeaCache, arXiv 2411.19108): a step
    whose first block gives nearly what it gave at the last full one takes the other blocks' part
    from there. ``taylorseer`` (arXiv 2503.06923): the output of the steps between two full ones is
    extrapolated from those before, and no block runs in them.

    ``threshold``: of ``first_block``, the relative mean change of its residual up to which it does
    so. ``refresh``: step 0 and every so many behind it are computed in full; ``taylorseer``
    computes the ones before the first of them too. A run has whole attention at those steps alone,
    so that captures hold them and anchored edits follow them exactly. None: the interval of the
    model's preset ``auto``.
    """

    method: StepCacheMethod = "first_block"
    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = THRESHOLD
    refresh: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _threshold_has_a_meaning(self) -> Self:
        if self.method == "taylorseer" and self.threshold != THRESHOLD:
            raise ValueError("threshold: method 'taylorseer' has none; leave it out")
        return self

    def full_steps(self, total_steps: int) -> tuple[int, ...]:
        """The steps of a run of so many that are always computed in full."""
        return tuple(range(0, total_steps, self.refresh or 1))
