"""Pictures that tests send, and what is stored of them."""

import asyncio
import base64
import io
from collections.abc import Awaitable, Callable
from typing import TypeVar

from PIL import Image

from schemas.recipes import pixels_hash
from service.app import open_state
from service.background.tracing import Tracing
from service.request.app_state import AppState
from service.settings import ServiceSettings
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.service.wire.test_pictures import file_of, halves

T = TypeVar("T")
PNG = file_of(halves(96, 64))
OTHER = file_of(halves(96, 64).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def url(data: bytes) -> dict[str, str]:
    return {"image_url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}


def name_of(data: bytes, width: int = 96, height: int = 64) -> str:
    image = Image.open(io.BytesIO(data)).resize((width, height))
    return pixels_hash(width, height, image.tobytes())


def pictures_of(objects: ObjectStore, video_id: str) -> set[str]:
    """The names of what lies in a video's folder, each checked to be what its name says."""
    found = set()
    for info in objects.list(f"videos/default/{video_id}/pictures"):
        image = Image.open(io.BytesIO(objects.get(info.key)))
        name = pixels_hash(*image.size, image.tobytes())
        assert info.key == f"videos/default/{video_id}/pictures/{name}.png"
        found.add(name)
    return found


def on_stores(stores: StorageSettings, ask: Callable[[AppState], Awaitable[T]]) -> T:
    """What ``ask`` gives, of a state of its own over the same stores."""

    async def run() -> T:
        state = open_state(ServiceSettings(storage=stores), Tracing(None))
        try:
            return await ask(state)
        finally:
            await state.redis.aclose()

    return asyncio.run(run())
