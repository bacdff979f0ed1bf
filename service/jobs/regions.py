"""The region of an edit, from a request to a recipe: read, fitted as its source is, and checked."""

import asyncio
import tempfile
from pathlib import Path

from schemas.errors import FilmUnreadable, InvalidRequest, Unsupported
from schemas.films.film import Film
from schemas.films.region import EditRegion, RegionInput, RegionOrAuto, word_places
from schemas.films.upload import upload_key
from schemas.models import ModelCard
from schemas.recipes import Recipe
from service.jobs.pictures import RequestPictures
from service.jobs.uploads import read_picture
from service.request.auth import Call
from service.wire.masks import (
    StoredMask,
    box_mask,
    film_mask,
    picture_mask,
    store_mask,
)
from service.wire.pictures import data_of, is_data_url, looks_like_picture
from storage.films.reader import read_frames
from storage.objects.objects import ObjectStore

PARAM = "region"
_CHUNK_BYTES = 8 << 20


async def put_region(
    call: Call,
    pictures: RequestPictures,
    recipe: Recipe,
    asked: RegionOrAuto | None,
    card: ModelCard,
) -> Recipe:
    """``recipe``, an edit, kept to the region that is ``asked`` for.

    Raises InvalidRequest, Unsupported, TooLarge, NotFound, ObjectStoreError.
    """
    if asked is None:
        return recipe
    asked = RegionInput(auto=True) if asked == "auto" else asked
    _check(recipe, card, asked)
    name = None
    if asked.kind in ("mask", "boxes"):
        mask = await _mask_of(call, recipe, asked)
        pictures.hold(mask.name, mask.png)
        name = mask.name
    word = None if asked.word is None else " ".join(asked.word.split())
    region = EditRegion(mask=name, word=word, growth=asked.growth, softness=asked.softness)
    return recipe.model_copy(update={"region": region})


def _check(recipe: Recipe, card: ModelCard, asked: RegionInput) -> None:
    if recipe.transfer is None or recipe.transfer.anchor is None:
        raise InvalidRequest(
            "region: an edit is kept to a region by following its source, which transfer.anchor "
            "null (and preset 'paper') does not do; leave out one of the two",
            param=PARAM,
        )
    if not card.region_kinds:
        raise Unsupported(
            f"region: model {card.id!r} ({card.family}) cannot be kept to one; leave it out",
            param=PARAM,
        )
    if asked.kind not in card.region_kinds:
        param = f"{PARAM}.{asked.kind}"
        raise Unsupported(
            f"{param}: model {card.id!r} ({card.family}) does not find a region by it; allowed are "
            f"{', '.join(card.region_kinds)}",
            param=param,
        )
    if asked.word is not None:
        _check_word(recipe, asked.word)


def _check_word(recipe: Recipe, word: str) -> None:
    assert recipe.source is not None
    prompt = recipe.source.generation.prompt
    if not word_places(prompt, word):
        raise InvalidRequest(
            f"{PARAM}.word: {word!r} does not stand in the source's prompt {prompt[:200]!r}; "
            "allowed are words of it",
            param=f"{PARAM}.word",
        )


async def _mask_of(call: Call, recipe: Recipe, asked: RegionInput) -> StoredMask:
    generation, settings = recipe.generation, call.state.settings
    size, frames = (generation.width, generation.height), generation.num_frames
    if asked.boxes is not None:
        boxes = asked.boxes
        grey = await asyncio.to_thread(box_mask, boxes, size, frames, PARAM)
    elif asked.id is not None:
        upload = await call.state.uploads.get(call.project, asked.id, f"{PARAM}.id")
        if upload.picture is None:
            key = upload_key(call.project, upload.sha256)
            grey = await _video_mask(call, recipe, key, f"{PARAM}.id")
        else:
            data = await read_picture(call, asked.id, f"{PARAM}.id")
            grey = await _file_mask(call, recipe, data)
    else:
        assert asked.image_url is not None
        if not is_data_url(asked.image_url):
            raise Unsupported(
                f"{PARAM}.image_url: {asked.image_url[:80]!r} is not allowed: no mask is fetched; "
                "allowed are data URLs (data:image/png;base64,…), or a file of a form",
                param=f"{PARAM}.image_url",
            )
        data = data_of(asked.image_url, settings.max_picture_bytes, PARAM)
        grey = await _file_mask(call, recipe, data)
    return await asyncio.to_thread(store_mask, grey, size, PARAM)


async def _file_mask(call: Call, recipe: Recipe, data: bytes) -> bytes:
    """The grey frames of a picture or a video."""
    if not looks_like_picture(data[:12]):
        return await _video_mask(call, recipe, data, PARAM)
    generation, most = recipe.generation, call.state.settings.max_picture_pixels
    size, fit = (generation.width, generation.height), film_of(recipe).fit
    async with call.state.decoding:
        return await asyncio.to_thread(picture_mask, data, size, fit, most, PARAM)


def film_of(recipe: Recipe) -> Film:
    """How a mask is fitted: as the uploaded film that the chain begins with, else cropped to the
    video, from its first frame on."""
    film = recipe.chain()[-1].film
    return film or Film(sha256="0" * 64, fps=recipe.generation.fps)


async def _video_mask(call: Call, recipe: Recipe, where: bytes | str, param: str) -> bytes:
    """The grey frames of a mask video: its bytes, or the key of the object that it is."""
    limits, generation = call.state.settings.films, recipe.generation
    size = (generation.width, generation.height)

    def read() -> bytes:
        with tempfile.TemporaryDirectory(prefix="retake-mask-") as folder:
            path = Path(folder) / "mask"
            if isinstance(where, bytes):
                path.write_bytes(where)
            else:
                _fetch(call.state.objects, where, path)
            frames = read_frames(path, film_of(recipe), size, generation.num_frames, limits)
        return film_mask(frames, size, generation.num_frames)

    try:
        async with call.state.probes:
            return await asyncio.to_thread(read)
    except FilmUnreadable as error:
        raise InvalidRequest(
            f"{param}: {error.message}; a mask is a PNG, JPEG or WebP picture, or such a video",
            param=param,
        ) from None


def _fetch(objects: ObjectStore, key: str, path: Path) -> None:
    size = objects.size(key)
    with path.open("wb") as file:
        for offset in range(0, size, _CHUNK_BYTES):
            piece = memoryview(bytearray(min(_CHUNK_BYTES, size - offset)))
            objects.read_into(key, offset, piece)
            file.write(piece)
