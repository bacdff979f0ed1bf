"""One model as the operator names it. Imports no torch: the driver and the Dispatcher read it."""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.attention import Preset, PresetName
from schemas.base import Frozen

DtypeName = Literal["float32", "bfloat16", "float16"]

Quantization = Literal["none", "fp8", "int8", "int8_dynamic", "float8_dynamic"]


class CardDefaults(Frozen):
    """A model's own defaults and limits, in its settings or in its folder's retake.json."""

    width: int | None = Field(None, description="Width, in pixels, if a request names no size.")
    height: int | None = Field(None, description="Height, in pixels, if a request names no size.")
    num_frames: int | None = Field(None, description="Frames, if a request does not say.")
    fps: int | None = Field(None, description="Frames per second, if a request does not say.")
    num_inference_steps: int | None = Field(None, description="Steps, if a request does not say.")
    guidance_scale: float | None = Field(
        None, description="Guidance scale, if a request does not say."
    )
    negative_prompt: str | None = Field(
        None, description="Negative prompt, if a request does not say."
    )
    licence: str | None = Field(None, description="The licence that `/v1/models` shows.")
    max_width: int | None = Field(None, description="The largest width, in pixels.")
    max_height: int | None = Field(None, description="The largest height, in pixels.")
    max_frames: int | None = Field(None, description="The largest number of frames.")
    max_inference_steps: int | None = Field(None, description="The largest number of steps.")
    max_prompt_chars: int | None = Field(
        None, ge=1, description="The longest prompt, in characters."
    )
    presets: dict[PresetName, Preset] | None = Field(
        None, description="The model's own transfer presets, by name."
    )


class LoraFileSettings(Frozen):
    """One file of a LoRA."""

    path: str = Field(description="A safetensors file, a folder, or a hub id.")
    weight_name: str | None = Field(
        None, description="The file in the folder or on the hub. Unset: the only one there."
    )
    revision: str | None = Field(None, description="The hub's revision. Unset: its default branch.")
    scale: float = Field(
        1.0, allow_inf_nan=False, description="What a request's scale is multiplied by."
    )


class LoraSettings(LoraFileSettings):
    """A LoRA that requests can name. Its file's content is part of the fingerprint."""

    low_noise: LoraFileSettings | None = Field(
        None,
        description="Of a model with two experts (Wan2.2 A14B): another file for the second, which "
        "denoises at low noise: an object of the fields above. Unset: the same file in both.",
    )


class ModelSettings(Frozen):
    """One model as the operator names it."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="The name that requests use."
    )
    path: str = Field(
        description="A folder in diffusers' format, or a hub id "
        "(`Wan-AI/Wan2.1-T2V-1.3B-Diffusers`)."
    )
    revision: str | None = Field(None, description="The hub's revision. Unset: its default branch.")
    pipeline: str | None = Field(
        None,
        description="The pipeline to load it as. Unset: the one that the folder names. With "
        "`WanImageToVideoPipeline`, Wan 2.2 TI2V-5B starts from a picture.",
    )
    transformer_file: str | None = Field(
        None,
        description="The transformer's weights in one file, safetensors or GGUF, in the place of "
        "the folder's: by its authors' names or ComfyUI's. Its content is part of the fingerprint.",
    )
    transformer_2_file: str | None = Field(
        None, description="The same for the second expert (Wan2.2 A14B: low noise)."
    )
    dtype: DtypeName = Field("bfloat16", description="The data type of weights and computation.")
    component_dtypes: dict[str, DtypeName] = Field(
        default_factory=dict,
        description="Data types of single components, by name, where they are not `dtype`. Unset: "
        "what the authors use, such as `float32` for the VAE of Wan (docs/models.md).",
    )
    scheduler: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Fields of the scheduler's configuration that are not the folder's, such as "
        "`flow_shift`; `class` names another scheduler of diffusers.",
    )
    call: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments of the pipeline's call that no request names, such as "
        "`guidance_scale_2`, `decode_timestep`, `max_sequence_length`. Unset ones are the "
        "checkpoint's (docs/models.md).",
    )
    device: str = Field(
        "auto",
        description="torch's name of the device; `auto`: a GPU where there is one, else the CPU.",
    )
    offload: Literal["none", "model", "group"] = Field(
        "none",
        description="diffusers' offloading to host memory: whole components, or groups of layers.",
    )
    attention_backend: str | None = Field(
        None, description="diffusers' name of an attention backend. Unset: torch's choice."
    )
    quantization: Quantization = Field(
        "none",
        description="`fp8` and `int8` store the transformers' weights in 8 bits and compute in "
        "`dtype`; the linears of `int8_dynamic` and `float8_dynamic` compute in 8 bits, the latter "
        "on GPUs of compute capability 8.9 or newer. All but `fp8` need the extra `quantization` "
        "(torchao).",
    )
    fuse_projections: bool = Field(
        False, description="Fuse query, key and value projections, in families that compute so."
    )
    compile: Literal["none", "default", "aot_eager", "eager"] = Field(
        "none",
        description="Compile the transformers' blocks with torch.compile: `default` with inductor, "
        "the others with torch's backend of that name.",
    )
    vae_tiling: bool = Field(False, description="Decode the video in tiles, to save memory.")
    loras: dict[str, LoraSettings] = Field(
        default_factory=dict, description="LoRAs that requests can name: objects as below, by name."
    )
    ranks: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that make one video together, each with its own GPU, in families "
        "that allow it. Above 1 it is part of the fingerprint, because the tokens of a layer round "
        "differently when they are split.",
    )
    replay_rows: int = Field(
        4,
        ge=1,
        le=64,
        description="How many videos one batch may hold when a source is replayed beside its edit.",
    )
    replay_bytes: int = Field(
        8 << 30,
        ge=0,
        description="Device memory for the hidden states of a source that is replayed for an "
        "anchored edit, of one step at a time; what does not fit is computed again.",
    )
    defaults: CardDefaults = Field(
        CardDefaults(),
        description="The model's own defaults and limits: an object as below. They win over the "
        "folder's `retake.json`, which wins over the family's.",
    )

    @model_validator(mode="after")
    def _spread_plainly(self) -> Self:
        for name, value in (("offload", self.offload), ("compile", self.compile)):
            if self.ranks > 1 and value != "none":
                raise ValueError(
                    f"{name}: {value!r} does not go with ranks {self.ranks}; allowed is 'none'"
                )
        return self
