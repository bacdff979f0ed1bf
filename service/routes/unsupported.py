"""Calls of the dialect that this service does not offer: a clear error rather than a 404."""

from fastapi import APIRouter

from schemas.errors import Unsupported
from service.request.dependencies import CallDep
from service.wire.errors import COMMON, ErrorBody

router = APIRouter(prefix="/v1", tags=["unsupported"], responses=COMMON)


@router.post("/videos/extensions", status_code=400, response_model=ErrorBody)
async def extend_video(call: CallDep) -> None:
    """Not offered: a longer run is another video (``num_frames`` of the model)."""
    raise Unsupported("extending a video is not supported; ask for more num_frames instead")


@router.post("/videos/characters", status_code=400, response_model=ErrorBody)
async def create_character(call: CallDep) -> None:
    """Not offered."""
    raise Unsupported("characters are not supported")


@router.get("/videos/characters/{character_id}", status_code=400, response_model=ErrorBody)
async def get_character(character_id: str, call: CallDep) -> None:
    """Not offered."""
    raise Unsupported("characters are not supported")
