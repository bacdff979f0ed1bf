"""One model as the operator names it. Imports no torch: the driver and the Dispatcher read it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.attention import Preset, PresetName
from schemas.base import Frozen


class CardDefaults(Frozen):
    """What a fine-tune says of itself, in its settings or its folder's retake.json."""

    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    fps: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    licence: str | None = None
    max_width: int | None = None
    max_height: int | None = None
    max_frames: int | None = None
    max_inference_steps: int | None = None
    max_prompt_chars: int | None = Field(default=None, ge=1)
    presets: dict[PresetName, Preset] | None = None


class LoraSettings(Frozen):
    """A LoRA that requests may name. ``path``: a folder or hub id; ``weight_name``: its file."""

    path: str
    weight_name: str | None = None


class ModelSettings(Frozen):
    """One model as the operator names it.

    ``path``: a folder in diffusers' format, or a hub id (``Wan-AI/Wan2.1-T2V-1.3B-Diffusers``).
    ``quantization``: fp8 keeps the transformers' weights in 8 bits and computes in ``dtype``; int8
    does so with linears of its own, by the package torchao (``workers/models/quantization.py``).
    ``ranks``: processes, each with a GPU of its own, that make one video together, where the
    family can be spread; above 1 it is part of the fingerprint, for other numbers of tokens round
    otherwise.
    ``replay_rows``: videos that one batch may hold when a source is replayed beside its edit.
    ``replay_bytes``: of device memory for the hidden states of a source that is replayed before an
    anchored edit; what does not fit is recomputed.
    ``defaults``: what the card says, where neither the folder's retake.json nor the family fits.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    path: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    device: str = "auto"
    offload: Literal["none", "model", "group"] = "none"
    attention_backend: str | None = None
    quantization: Literal["none", "fp8", "int8"] = "none"
    fuse_projections: bool = False
    compile: Literal["none", "default", "aot_eager", "eager"] = "none"
    vae_tiling: bool = False
    loras: dict[str, LoraSettings] = Field(default_factory=dict)
    ranks: Annotated[int, Field(ge=1, le=64)] = 1
    replay_rows: Annotated[int, Field(ge=1, le=64)] = 4
    replay_bytes: Annotated[int, Field(ge=0)] = 8 << 30
    defaults: CardDefaults = CardDefaults()

    @model_validator(mode="after")
    def _spread_plainly(self) -> Self:
        for name, value in (("offload", self.offload), ("compile", self.compile)):
            if self.ranks > 1 and value != "none":
                raise ValueError(
                    f"{name}: {value!r} does not go with ranks {self.ranks}; allowed is 'none'"
                )
        return self
