"""From a received file to an upload, and from an upload to the source of an edit."""

import asyncio
import logging
import time
from typing import Any

from schemas.errors import FilmUnreadable, InvalidRequest, RateLimited, Unsupported
from schemas.films.film import Film, FilmInfo, FittedFilm, fitted, frames_left
from schemas.films.upload import Upload, upload_id, upload_key
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.requests import EditVideo
from service.jobs.resolve import new_generation, parse_size
from service.jobs.submission import QUOTA_RETRY_S
from service.request.auth import Call
from service.request.films import FilmFile
from storage.films.reader import probe

log = logging.getLogger("retake.service")
_CHUNK_BYTES = 4 << 20
FILM_SEED = 0  # so that edits of one film share its attention unless they ask for other noise


async def store_upload(call: Call, film: FilmFile, param: str) -> Upload:
    """Look into a received file, store it and list it. Raises InvalidRequest (it is no video that
    can be read; the message says why), RateLimited (the project's storage is full)."""
    if not film.size_bytes:
        raise InvalidRequest(f"{param}: the file is empty", param=param)
    settings = call.state.settings
    try:
        async with call.state.probes:
            info = await asyncio.to_thread(probe, film.path, settings.films)
    except FilmUnreadable as error:
        raise InvalidRequest(
            f"{param}: {error.message}", param=param, code="video_unreadable"
        ) from None
    held = await call.state.uploads.find(call.project, upload_id(film.sha256))
    if held is None:
        await _check_quota(call, film.size_bytes)
        await asyncio.to_thread(_put, call, film)
    now = int(time.time())
    upload = Upload(
        id=upload_id(film.sha256),
        filename=held.filename if held else film.filename,
        bytes=film.size_bytes,
        sha256=film.sha256,
        film=info,
        created_at=held.created_at if held else now,
        expires_at=_expiry(call),
    )
    log.info("uploaded %s", upload.id, extra={"project": call.project})
    return await call.state.uploads.add(call.project, upload)


def _put(call: Call, film: FilmFile) -> None:
    with (
        film.path.open("rb") as file,
        call.state.objects.put_parts(upload_key(call.project, film.sha256)) as writer,
    ):
        while piece := file.read(_CHUNK_BYTES):
            writer.write(piece)
        writer.commit()


async def _check_quota(call: Call, size_bytes: int) -> None:
    if not call.state.settings.needs_keys:
        return
    allowed = (await call.state.limits.of(call.project)).max_stored_bytes
    stored = await call.state.limits.stored_bytes(call.project)
    if allowed and stored + size_bytes > allowed:
        raise RateLimited(
            f"{stored} bytes are stored for this project, and the file has {size_bytes}; allowed "
            f"are {allowed}: delete videos, artifacts or uploads",
            code="storage_quota_exceeded",
            retry_after_s=QUOTA_RETRY_S,
        )


def _expiry(call: Call) -> int | None:
    retention_s = call.state.settings.upload_retention_s
    return int(time.time()) + retention_s if retention_s else None


async def film_source(call: Call, body: EditVideo) -> tuple[Recipe, ModelCard, FittedFilm]:
    """The recipe of the uploaded film that ``body`` edits, fitted to the model.

    Raises NotFound, Unsupported (the model takes no uploads; the message names those that do),
    InvalidRequest.
    """
    assert body.video is not None
    assert body.source_prompt is not None
    upload = await call.state.uploads.get(call.project, body.video.id, "video.id")
    card = await call.state.catalogue.pick(body.model, call.state.settings.default_model)
    if not card.supports_uploads:
        cards = await call.state.catalogue.cards()
        able = [each.id for each in cards.values() if each.supports_uploads]
        raise Unsupported(
            f"video: model {card.id!r} cannot edit uploaded videos; models that can: "
            f"{', '.join(able) or 'none is served here'}",
            param="video",
        )
    recipe = film_recipe(body, upload, card)
    generation, film = recipe.generation, recipe.film
    assert film is not None
    shown = fitted(
        upload.film,
        film,
        size=(generation.width, generation.height),
        num_frames=generation.num_frames,
        upload_id=upload.id,
        source_prompt=body.source_prompt,
    )
    key = recipe.key(call.project)
    kept = upload.model_copy(update={"expires_at": _expiry(call)})
    await call.state.uploads.add(call.project, kept, source_key=key)
    return recipe, card, shown


def film_recipe(body: EditVideo, upload: Upload, card: ModelCard) -> Recipe:
    """``upload`` as a source: what ``body`` leaves open is chosen to fit the film."""
    assert body.source_prompt is not None
    info, start_s = upload.film, body.start_s or 0.0
    if info.seconds is not None and start_s >= info.seconds:
        raise InvalidRequest(
            f"start_s: {start_s:g} is not in the video, which is {info.seconds:g} seconds long",
            param="start_s",
        )
    chosen: dict[str, Any] = {"seed": FILM_SEED if body.seed is None else body.seed}
    chosen["step_cache"] = None  # the film's run computes few steps, and those whole
    if body.size is None:
        chosen["size"] = size_for(info, card)
    if body.num_frames is None and body.seconds is None:
        fps = card.fps.default if body.fps is None else body.fps
        chosen["num_frames"] = frames_for(info, card, fps, start_s)
    asked = body.model_copy(update=chosen)
    generation = new_generation(asked, body.source_prompt, card)
    film = Film(
        sha256=upload.sha256,
        fit=body.fit or "crop",
        fps=generation.fps,
        start_s=start_s,
        audio=info.audio,
    )
    return Recipe(generation=generation, film=film)


def size_for(info: FilmInfo, card: ModelCard) -> str:
    """The model's own size, upright for an upright film where the model can do that."""
    width, height = card.default_size.split("x")
    if (info.width < info.height) != (int(width) < int(height)):
        turned = f"{height}x{width}"
        try:
            parse_size(turned, card, "size")
        except InvalidRequest:
            return card.default_size
        return turned
    return card.default_size


def frames_for(info: FilmInfo, card: ModelCard, fps: int, start_s: float) -> int:
    """As many frames as the film has, of what the model can do, and no more than its default."""
    allowed = card.num_frames
    there = frames_left(info, fps, start_s)
    most = allowed.default if there is None else min(there, allowed.default)
    nearest = (most - allowed.offset) // allowed.step * allowed.step + allowed.offset
    return max(nearest, allowed.minimum)
