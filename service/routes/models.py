"""``/v1/models``: what can be asked for."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response

from schemas.attention import Branch, Preset, PresetName, StepCacheMethod
from schemas.base import Frozen
from schemas.errors import NotFound
from schemas.films.region import RegionKind
from schemas.models import Input, IntRange, ModelCard
from schemas.selection import presets_of
from service.request.dependencies import CallDep
from service.wire.errors import COMMON, documented
from service.wire.replies import reply

router = APIRouter(prefix="/v1", tags=["models"], responses=COMMON)


class Model(Frozen):
    """One model with its limits and defaults; fields from ``family`` on are ours."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["retake"] = "retake"
    family: str
    revision: str
    dtype: str
    licence: str
    default_size: str
    width: IntRange
    height: IntRange
    max_pixels: int
    num_frames: IntRange
    fps: IntRange
    num_inference_steps: IntRange
    guidance_scale: float
    max_guidance_scale: float
    supports_guidance_scale_2: bool
    guidance_scale_2: float | None
    negative_prompt: str
    max_prompt_chars: int
    max_prompt_tokens: int | None
    layers: int
    heads: int
    branches: tuple[Branch, ...]
    supports_transfer: bool
    supports_preview: bool
    supports_step_cache: bool
    step_cache_methods: tuple[StepCacheMethod, ...]
    supports_uploads: bool
    supports_region: bool
    region_kinds: tuple[RegionKind, ...]
    inputs: tuple[Input, ...]
    required_inputs: tuple[Input, ...]
    presets: dict[PresetName, Preset]


class ModelList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def model_of(card: ModelCard) -> Model:
    shared = {name: getattr(card, name) for name in Model.model_fields if hasattr(card, name)}
    ours = {"width": card.width_range, "height": card.height_range, "presets": presets_of(card)}
    return Model.model_validate({**shared, **ours, "created": card.created_at})


@router.get("/models", response_model=ModelList)
async def list_models(call: CallDep) -> Response:
    """Every model that a worker has loaded."""
    cards = await call.state.catalogue.cards()
    return reply(ModelList(data=tuple(map(model_of, cards.values()))))


@router.get("/models/{model_id}", response_model=Model, responses=documented(404))
async def get_model(model_id: Annotated[str, Path(examples=["scenes"])], call: CallDep) -> Response:
    """One model."""
    cards = await call.state.catalogue.cards()
    if model_id not in cards:
        raise NotFound(f"no model {model_id[:80]!r}", param="model_id", code="model_not_found")
    return reply(model_of(cards[model_id]))
