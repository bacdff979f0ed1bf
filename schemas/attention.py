"""Which attention is kept, which is put into an edit, and which a step cache leaves out.

Layers number the self-attention modules of a transformer in forward order from 0 (of two experts
each has its own; a step runs one of them); steps number the iterations of the denoising loop from
0; heads number the heads of one layer from 0.
Method: "Analysis of Attention in Video Diffusion Transformers", arXiv 2504.10317.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Frozen, OneError
from schemas.errors import InvalidRequest

Branch = Literal["cond", "uncond"]
Branches = Annotated[tuple[Branch, ...], Field(min_length=1, max_length=2), OneError()]
Form = Literal["latents", "hidden", "qk", "dense"]
CodecName = Literal["raw", "zstd", "zipnn", "int8"]
PresetName = Literal["auto", "recolour", "restyle", "object", "background", "paper"]
Index = Annotated[int, Field(ge=0, le=100_000)]
Indices = Annotated[tuple[Index, ...], Field(min_length=1, max_length=4096), OneError()]


class StepRange(Frozen):
    """Steps ``start`` (included) to ``stop`` (excluded)."""

    start: Index = 0
    stop: Index

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.stop <= self.start:
            raise ValueError(f"stop {self.stop} must be greater than start {self.start}")
        return self


Steps = Indices | StepRange


class CaptureSpec(Frozen):
    """What of a generation's attention is kept.

    ``scope``: ``presets`` keeps the layers, steps and branch that edits with the model's presets
    read; ``regions`` every layer at those steps, which such edits with a region read;
    ``everything`` all of them, which edits without an anchor read. ``layers``, ``steps`` and
    ``branches``, where given, win over it. Form latents keeps every step in either.

    ``form``: see docs/architecture.md; None lets the service choose from ``max_bytes``.
    ``max_bytes``: the artifact may not be larger (bytes, before compression). What form latents
    leaves of it is filled with hidden states of the last layers, which edits then need not rerun.
    ``ttl_s``: seconds that the artifact is kept; None: the server's retention.
    """

    form: Form | None = "hidden"
    codec: CodecName = "zipnn"
    scope: Literal["presets", "regions", "everything"] = "presets"
    layers: Indices | None = None
    steps: Steps | None = None
    branches: Branches | None = None
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    ttl_s: Annotated[int, Field(ge=60, le=10 * 365 * 86400)] | None = None

    @model_validator(mode="after")
    def _form_or_budget(self) -> Self:
        if self.form is None and self.max_bytes is None:
            raise ValueError("form null needs max_bytes: the budget that the form is chosen by")
        if self.form == "latents" and self.codec == "int8":
            raise ValueError("codec int8 is lossy and not offered for form latents; use zipnn")
        return self


# Those whose transformers can compute some of the tokens: workers/generation/wan_tokens.py
REGION_FAMILIES = ("wan",)


class Region(Frozen):
    """Which tokens an anchored edit computes behind its first computed step, which is whole.

    A token is computed where its velocity differs from the source's by more than ``threshold``
    times Otsu's threshold of all differences, and so are those up to ``growth`` tokens from it in
    its frame; the others are the source's own. They are chosen anew at each computed step. Where
    more than ``max_share`` of all tokens would be computed, the change is of the whole picture: all
    are, from there on. ``threshold`` 0 is an anchored edit without a region.
    """

    threshold: Annotated[float, Field(ge=0, le=4, allow_inf_nan=False)] = 0.5
    growth: Annotated[int, Field(ge=0, le=64)] = 2
    max_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9


class Anchor(Frozen):
    """An edit that follows its source's velocity and computes only how it differs from it.

    At step 0 and every ``interval``-th step behind it the difference of the two velocities is
    computed, in branch cond; in between the last one is kept. ``scale``: how much of the difference
    is added; it takes the place of guidance. ``region``: compute only the tokens that change; null:
    all of them. docs/architecture.md, "Anchored edits".
    """

    interval: Annotated[int, Field(ge=1, le=1000)] = 5
    scale: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    region: Region | None = None

    def computed_steps(self, total_steps: int) -> tuple[int, ...]:
        """The steps of a run of so many in which the transformer is called."""
        return tuple(range(0, total_steps, self.interval))


class TransferSpec(Frozen):
    """Which of the source's maps replace the edit's own. ``None`` means every one.

    ``anchor``: follow the source, see ``Anchor``; null is the paper's own way, a whole second
    generation. A request that does not name it gets its preset's.

    ``source_branch``: ``own`` puts the source's cond maps into cond and uncond into uncond;
    ``cond`` puts the source's cond maps into every branch named by ``branches``.
    ``strength``: 1 is the source's queries and keys, 0 the edit's own, linear in between.
    ``strength_end``: with it, strength runs linearly from ``strength`` at the first transferred
    step to ``strength_end`` at the last.
    ``preset``: a named setting of the other fields; fields given explicitly win over it.
    """

    preset: PresetName | None = None
    anchor: Anchor | None = None
    layers: Indices | None = None
    steps: Steps | None = None
    heads: Indices | None = None
    branches: Branches | None = None
    source_branch: Literal["own", "cond"] = "own"
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    strength_end: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class Preset(Frozen):
    """A named transfer. None means all; ``steps``: the first of the run, as a share of them."""

    anchor: Anchor | None = Anchor()
    layers: Indices | None = None
    steps: Annotated[float, Field(gt=0, le=1)] = 1.0
    branches: Branches | None = None

    def stop(self, total_steps: int) -> int | None:
        """The first step of a run of so many that is no longer taken; None: all are."""
        return None if self.steps == 1 else max(1, round(self.steps * total_steps))

    def anchor_of(self, total_steps: int) -> Anchor | None:
        """The anchor in a run of so many steps: of a few, at least four are computed."""
        if self.anchor is None:
            return None
        interval = min(self.anchor.interval, max(1, total_steps // 4))
        return self.anchor.model_copy(update={"interval": interval})


def resolve_steps(steps: Steps | None, total: int, param: str) -> tuple[int, ...]:
    """The steps as sorted numbers below ``total``; raises InvalidRequest naming ``param``."""
    if steps is None:
        return tuple(range(total))
    if isinstance(steps, StepRange):
        stop = min(steps.stop, max(steps.start, total) + 1)  # one too many is enough to refuse
        return resolve_indices(tuple(range(steps.start, stop)), total, param)
    return resolve_indices(steps, total, param)


def resolve_indices(chosen: tuple[int, ...] | None, total: int, param: str) -> tuple[int, ...]:
    """``chosen`` sorted and without repeats, or all of ``range(total)``; InvalidRequest else."""
    if chosen is None:
        return tuple(range(total))
    beyond = [index for index in chosen if not 0 <= index < total]
    if beyond:
        raise InvalidRequest(f"{param}: {beyond[0]} is not one of 0 to {total - 1}", param=param)
    return tuple(sorted(set(chosen)))


StepCacheMethod = Literal["first_block", "taylorseer"]
STEP_CACHE_THRESHOLD = 0.1


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
    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = STEP_CACHE_THRESHOLD
    refresh: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _threshold_has_a_meaning(self) -> Self:
        if self.method == "taylorseer" and self.threshold != STEP_CACHE_THRESHOLD:
            raise ValueError("threshold: method 'taylorseer' has none; leave it out")
        return self

    def full_steps(self, total_steps: int) -> tuple[int, ...]:
        """The steps of a run of so many that are always computed in full."""
        return tuple(range(0, total_steps, self.refresh or 1))
