"""Model cards: what a loaded model offers. Workers publish them; the API validates against them."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.attention import (
    REGION_FAMILIES,
    Branch,
    Preset,
    PresetName,
    Region,
    StepCache,
    StepCacheMethod,
)
from schemas.base import Frozen
from schemas.errors import InvalidRequest, Unsupported
from schemas.films.region import RegionKind

Input = Literal["text", "image"]


class LatentGrid(Frozen):
    """How pixels map to tokens: VAE strides and the transformer's patch, as (time, height, width).

    ``frames_offset`` is 1 for causal VAEs (4k+1 frames give k+1 latent frames), else 0.
    """

    vae_stride: tuple[int, int, int]
    patch: tuple[int, int, int]
    frames_offset: int = 1

    def tokens(self, width: int, height: int, num_frames: int) -> tuple[int, int, int]:
        """The token grid (F, H, W) of a video of this size; odd frames are padded to a patch."""
        frames = (num_frames - self.frames_offset) // self.vae_stride[0] + self.frames_offset
        return (
            -(-frames // self.patch[0]),
            height // (self.vae_stride[1] * self.patch[1]),
            width // (self.vae_stride[2] * self.patch[2]),
        )


class IntRange(Frozen):
    """``minimum`` to ``maximum``, of the form ``step``·k + ``offset``; with the default."""

    minimum: int
    maximum: int
    default: int
    step: int = 1
    offset: int = 0

    def check(self, value: int, param: str) -> int:
        """``value`` if allowed; raises InvalidRequest naming the nearest that is."""
        nearest = self.nearest(value)
        if nearest == value:
            return value
        raise InvalidRequest(
            f"{param}: {value} is not allowed; allowed is {self.describe()}; nearest is {nearest}",
            param=param,
        )

    def nearest(self, value: int) -> int:
        """The allowed value that is nearest to ``value``: itself, if it is allowed."""
        nearest = min(max(value, self.minimum), self.maximum)
        nearest = round((nearest - self.offset) / self.step) * self.step + self.offset
        while nearest > self.maximum:
            nearest -= self.step
        while nearest < self.minimum:
            nearest += self.step
        return nearest

    def describe(self) -> str:
        """What is allowed, in words."""
        if self.minimum == self.maximum:
            return f"{self.minimum} alone"
        shape = f", of the form {self.step}k+{self.offset}" if self.step > 1 else ""
        if self.step > 1 and not self.offset:
            shape = f" in multiples of {self.step}"
        return f"{self.minimum} to {self.maximum}{shape}"


class ModelCard(Frozen):
    """One model as a worker loaded it.

    ``fingerprint``: SHA-256 over weights revision, dtype, scheduler and its shift, attention
    backend, quantization: everything of the model that changes numbers. Part of every source key.
    ``layers``, ``heads``, ``width``: self-attention modules of a transformer, heads of each, and
    the width of their input. ``branches``: guidance branches at guidance_scale > 1, or
    at any if it is ``always_guided``.
    ``supports_guidance_scale_2``: it has an expert for low noise, whose guidance is by default
    ``guidance_scale_2``, or that of the other expert where this is None.
    ``max_prompt_tokens``: what its tokenizer leaves of a prompt; None: not known.
    ``supports_uploads``: whether edits may take an uploaded film as their source.
    ``supports_transfer``: whether its attention can be kept and put in; ``no_transfer_reason`` says
    why not. ``supports_preview``: whether its latents can be shown while a job runs.
    ``supports_step_cache``: whether requests may name a ``step_cache``, by ``step_cache_methods``.
    ``supports_region``: whether an anchored edit can compute some of the tokens alone.
    ``region_kinds``: by what an edit can be kept to a ``region`` of its source; none: it cannot be.
    ``told_fps``: the model is told the frame rate, which then changes the video.
    ``checkpoint``: what it was recognised as, and ``defaults_source`` where its defaults are from.
    ``loras``: the names that requests may give. ``presets``: those that it has of its own, because
    which layers and steps carry what is a model's own (``schemas.selection.PRESETS`` otherwise).
    ``inputs``: what a video may be made from; ``required_inputs``: what it cannot be made without.
    What a worker of a later version says beyond this is left out, not refused.
    """

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    family: str
    fingerprint: str
    revision: str
    dtype: str
    licence: str
    default_size: str
    width_range: IntRange
    height_range: IntRange
    max_pixels: int
    num_frames: IntRange
    num_inference_steps: IntRange
    fps: IntRange
    guidance_scale: Annotated[float, Field(ge=0)]
    max_guidance_scale: float = 50.0
    supports_guidance_scale_2: bool = False
    guidance_scale_2: float | None = None
    negative_prompt: str = ""
    max_prompt_chars: int = 2000
    max_prompt_tokens: int | None = None
    layers: int
    heads: int
    width: int
    branches: tuple[Branch, ...] = ("cond", "uncond")
    always_guided: bool = False
    supports_transfer: bool = True
    no_transfer_reason: str = "it has no softmax attention map"
    supports_preview: bool = False
    supports_step_cache: bool = False
    step_cache_methods: tuple[StepCacheMethod, ...] = ("first_block",)
    supports_uploads: bool = False
    supports_region: bool = False
    region_kinds: tuple[RegionKind, ...] = ()
    inputs: tuple[Input, ...] = ("text",)
    required_inputs: tuple[Input, ...] = ("text",)
    grid: LatentGrid
    latent_channels: int
    loras: tuple[str, ...] = ()
    told_fps: bool = False
    checkpoint: str = ""
    defaults_source: str = ""
    presets: dict[PresetName, Preset] = Field(default_factory=dict)
    created_at: int = 0

    def check_step_cache(self, cache: StepCache, param: str = "step_cache") -> None:
        """Raise Unsupported where the model is not served with ``cache``."""
        if not self.supports_step_cache:
            raise Unsupported(
                f"{param}: model {self.id!r} is not served with one; leave it out", param=param
            )
        if cache.method not in self.step_cache_methods:
            raise Unsupported(
                f"{param}.method: model {self.id!r} is not served with {cache.method!r}; allowed "
                f"is {', '.join(self.step_cache_methods)}",
                param=f"{param}.method",
            )

    def checked_region(self, region: Region | None) -> Region | None:
        """``region``, or None where it leaves nothing out; raises Unsupported."""
        if region is not None and not self.supports_region:
            raise Unsupported(
                f"transfer.anchor.region: model {self.id!r} ({self.family}) computes all tokens; "
                f"families that can leave some out are {', '.join(REGION_FAMILIES)}, in one "
                "process, not compiled or fused; allowed here is null",
                param="transfer.anchor.region",
            )
        return region if region is not None and region.threshold > 0 else None

    @model_validator(mode="after")
    def _has_the_layers(self) -> Self:
        for name, preset in self.presets.items():
            last = max(preset.layers or (0,))
            if last >= max(self.layers, 1):
                raise ValueError(
                    f"presets.{name}.layers: {last} is not one of 0 to {self.layers - 1}"
                )
        return self
