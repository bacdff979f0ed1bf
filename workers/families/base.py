"""A family: what is not to be learnt from a pipeline's own configuration.

Where its self-attention sits, how it calls its transformer, and the defaults of its authors.
docs/adding-a-family.md says how to write one.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import nn

from schemas.attention import Branch
from schemas.errors import NumericOverflow, PictureMissing
from schemas.models import LatentGrid
from schemas.recipes import Generation
from workers.families.pixels import Frames, to_pixels

Pipeline = Any  # diffusers is untyped: what attributes one has depends on its class
Pictures = Mapping[str, Image.Image]  # RGB, of the video's size, by ``Picture.sha256``
# where the video's tokens lie among those of a layer
TokenLayout = Literal["video", "video_text", "text_video"]
# how latents lie behind a step; packed: (B, N, C·f·h·w), each token a patch
LatentLayout = Literal["BCFHW", "BFCHW", "BFHWC", "packed"]

# what pipelines call their VAE's strides
TIME_STRIDES = (
    "vae_scale_factor_temporal",
    "vae_temporal_compression_ratio",
    "vae_temporal_scale_factor",
)
SPACE_STRIDES = (
    "vae_scale_factor_spatial",
    "vae_spatial_compression_ratio",
    "vae_spatial_scale_factor",
    "vae_scale_factor",
)


@dataclass(frozen=True, eq=False)
class Pattern:
    """Modules whose path in the transformer matches ``path`` whole, and their token layout.

    A module that has projections of its own for text (``add_q_proj``) is given the video alone,
    whatever the layout says.
    """

    path: str
    layout: TokenLayout = "video"


@dataclass(frozen=True)
class Defaults:
    """The authors' settings."""

    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int = 50
    guidance_scale: float = 5.0
    negative_prompt: str = ""
    licence: str = "unknown"
    max_frames: int = 0


class Axis(NamedTuple):
    """The lengths that a pipeline takes along one axis, frames or pixels: ``step``·k + ``offset``,
    from ``minimum`` up to ``maximum`` (None: any)."""

    step: int
    offset: int
    minimum: int
    maximum: int | None = None


@dataclass(frozen=True)
class Family:
    """One kind of pipeline.

    ``attention``: the self-attention modules of each transformer, in forward order; empty where
    there is no softmax map (capture and transfer are then refused).
    ``cross_attention``: the paths of what reads the text alone, with ``norm_q`` and ``norm_k``.
    ``interleaved``: the blocks of the patterns alternate.
    ``branch_order``: the branches of a step, in the order of its calls, or of its batch if
    ``batched``.
    ``always_guided``: a run has all of them whatever its guidance scale.
    ``extra_calls``: how many more calls, for other kinds of guidance, a step may make, unheeded.
    ``step_inputs``: the transformer's arguments that change with every step.
    ``own_inputs``: those that are the same for every prompt: times, sizes.
    ``latent_layout``: how the latents lie behind a step; None: not known, and no previews are made.
    ``causal``: the VAE codes the first frame alone (4k+1 frames), not frames in equal groups.
    ``pixel_multiple``: what the pipeline's own check divides width and height by.
    ``min_steps``: the fewest steps that its scheduler can do.
    ``supports_fused_qkv``: whether its attention computes with fused projections once they are
    fused; diffusers fuses the weights of others without using them.
    ``supports_context_parallel``: whether its tokens can be shared among ranks: diffusers has a
    plan for it that splits them at the first block, so that a layer's projections see this rank's
    alone.
    ``supports_step_cache``: whether its pipeline and blocks work with diffusers' first-block cache.
    ``takes_films``: whether its latents are what its VAE gives of a video, and its transformer is
    given nothing else with them: an uploaded film can then be followed.
    ``max_batch``: how many videos one batch may hold; 1 where prompts are encoded by their batch.
    ``fps_argument``: what the pipeline calls the frame rate that its model is told.
    ``float32_components``: those that the authors run in float32, whatever the rest is in.
    ``templated``: prompts stand in a template of the model's; ``lowercases``: in small letters.
    ``drops_rows``: whether the pipeline decodes fewer rows than it denoised, if told to.
    ``picture``: whether its videos start from a picture; one batch shares one.
    """

    pipeline: str
    name: str
    defaults: Defaults
    attention: tuple[Pattern, ...]
    cross_attention: str | None = None
    interleaved: bool = False
    batched: bool = False
    branch_order: tuple[Branch, ...] = ("cond", "uncond")
    always_guided: bool = False
    extra_calls: int = 0
    components: tuple[str, ...] = ("transformer",)
    step_inputs: tuple[str, ...] = ("hidden_states",)
    own_inputs: tuple[str, ...] = ("timestep",)
    channels: str = "in_channels"
    latent_layout: LatentLayout | None = "BCFHW"
    supports_fused_qkv: bool = False
    supports_context_parallel: bool = False
    supports_step_cache: bool = False
    takes_films: bool = False
    max_batch: int = 8
    templated: bool = False
    lowercases: bool = False
    drops_rows: bool = True
    fps_argument: str | None = None
    float32_components: tuple[str, ...] = ()
    causal: bool = True
    pixel_multiple: int = 16
    min_steps: int = 1
    frames_argument: str = "num_frames"
    arguments: dict[str, Any] = field(default_factory=dict)
    picture: Literal["none", "optional", "required"] = "none"

    def transformers_of(self, pipeline: Pipeline) -> list[nn.Module]:
        """The transformers that are loaded, in the order in which they denoise."""
        found = [getattr(pipeline, name, None) for name in self.components]
        return [each for each in found if each is not None]

    def config(self, pipeline: Pipeline) -> Any:
        """The configuration of the first transformer."""
        return getattr(pipeline, self.components[0]).config

    def grid(self, pipeline: Pipeline) -> LatentGrid:
        """How pixels become tokens."""
        time, space = _first(pipeline, TIME_STRIDES), _first(pipeline, SPACE_STRIDES)
        config = self.config(pipeline)
        patch = config.patch_size
        if isinstance(patch, int):
            patch = (config.get("patch_size_t") or 1, patch, patch)
        return LatentGrid(
            vae_stride=(time, space, space),
            patch=tuple(patch),
            frames_offset=int(self.causal),
        )

    def latent_channels(self, pipeline: Pipeline) -> int:
        return int(self.config(pipeline)[self.channels])

    def prompt_limit(self, pipeline: Pipeline) -> int | None:
        """How many tokens the first tokenizer leaves of a prompt, its special ones with them."""
        for method in ("__call__", "encode_prompt"):
            parameters = inspect.signature(getattr(type(pipeline), method)).parameters
            if "max_sequence_length" in parameters:
                return int(parameters["max_sequence_length"].default)
        return None

    def share_a_batch(self, pipeline: Pipeline, rows: Sequence[Generation]) -> bool:
        """Whether each row of one batch comes out as it would alone."""
        return len(rows) <= self.max_batch

    def fixed_num_frames(self, pipeline: Pipeline) -> int | None:
        """The one length that the model can do, or None where it can do many."""
        return None

    def axes(self, pipeline: Pipeline) -> tuple[Axis, Axis, Axis]:
        """What lengths the pipeline takes: frames, height, width."""
        grid = self.grid(pipeline)
        step, offset = grid.vae_stride[0], grid.frames_offset % grid.vae_stride[0]
        pixels = [
            math.lcm(self.pixel_multiple, grid.vae_stride[axis] * grid.patch[axis])
            for axis in (1, 2)
        ]
        height, width = (Axis(step=each, offset=0, minimum=2 * each) for each in pixels)
        return Axis(step, offset, step + offset), height, width

    def branches(self, guidance_scale: float) -> tuple[Branch, ...]:
        """The branches of a run, in their order within a step."""
        guided = guidance_scale > 1 or self.always_guided
        return self.branch_order if guided else ("cond",)

    def call_arguments(
        self, rows: Sequence[Generation], pictures: Pictures | None = None
    ) -> dict[str, Any]:
        """The arguments of the stock pipeline that makes ``rows`` in one batch.

        Where a frame rate is told, recipes from before it was name none: then the pipeline's own.
        The noise is drawn on the CPU: a seed means the same on every device. Raises PictureMissing.
        """
        first = rows[0]
        told: dict[str, Any] = {"guidance_scale_2": first.guidance_scale_2}
        told |= {self.fps_argument: first.frame_rate} if self.fps_argument else {}
        arguments = {
            "prompt": [row.prompt for row in rows],
            "negative_prompt": [row.negative_prompt for row in rows],
            "width": first.width,
            "height": first.height,
            self.frames_argument: first.num_frames,
            "num_inference_steps": first.num_inference_steps,
            "guidance_scale": first.guidance_scale,
            "generator": [torch.Generator("cpu").manual_seed(row.seed) for row in rows],
            "output_type": "pt",
            **{name: value for name, value in told.items() if value is not None},
            **self.arguments,
        }
        if first.picture is not None:
            arguments["image"] = picture_of(rows, pictures or {})
        return arguments

    def frames(self, output: Any) -> Frames:
        """The last row's frames (F, H, W, 3) of what the pipeline returned.

        Raises NumericOverflow.
        """
        video = output.frames[-1]
        if not video.isfinite().all():
            raise NumericOverflow(
                "the decoded video has values that are not numbers: the VAE's dtype has too small "
                "a range"
            )
        return to_pixels(video)

    def configure(self, pipeline: Pipeline, generation: Generation) -> None:
        """Set what is not an argument of the pipeline's call (a guider's scale, say)."""

    def check(self, pipeline: Pipeline) -> None:
        """Raise ValueError for a checkpoint of this pipeline that cannot be served, and why."""

    def irregular(self, pipeline: Pipeline) -> str | None:
        """Why not every step makes the calls of ``branches``, if so: attention is then not kept."""
        return None

    def can_preview(self, pipeline: Pipeline) -> bool:
        """Whether a run's latents can be shown: their layout is known, and a VAE encodes."""
        return self.latent_layout is not None and hasattr(getattr(pipeline, "vae", None), "encode")

    def can_follow_films(self, pipeline: Pipeline) -> bool:
        """Whether a run can be led along an uploaded film: ``takes_films``, and the scheduler takes
        a flow's velocity and adds no noise of its own."""
        scheduler = pipeline.scheduler
        config = scheduler.config
        flow = "FlowMatch" in type(scheduler).__name__ or (
            config.get("prediction_type") == "flow_prediction" and config.get("use_flow_sigmas")
        )
        noisy = config.get("stochastic_sampling") or "sde" in config.get("algorithm_type", "")
        return self.takes_films and bool(flow) and not noisy

    def takes(self, pipeline: Pipeline, argument: str) -> bool:
        return argument in inspect.signature(type(pipeline).__call__).parameters


def picture_of(rows: Sequence[Generation], pictures: Pictures) -> Image.Image:
    """The one picture that all ``rows`` start from. Raises PictureMissing."""
    names = {row.picture.sha256 for row in rows if row.picture is not None}
    assert len(names) == 1, "rows of several pictures in one batch"
    (name,) = names
    if name not in pictures:
        raise PictureMissing("the picture that the video starts from is not stored")
    return pictures[name]


def _first(pipeline: Pipeline, names: Sequence[str]) -> int:
    """The first of these attributes that ``pipeline`` has; 1 where it has none."""
    return next((int(getattr(pipeline, name)) for name in names if hasattr(pipeline, name)), 1)
