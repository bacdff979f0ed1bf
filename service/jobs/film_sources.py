"""From an uploaded film to the source of an edit, or of an analysis: what is left open is chosen to
fit the film."""

from typing import Any

from schemas.errors import InvalidRequest, Unsupported
from schemas.films.film import Film, FilmInfo, FittedFilm, fitted, frames_left
from schemas.films.upload import Upload
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.requests import AnalysedSource, EditVideo
from service.jobs.resolve import new_generation, parse_size
from service.jobs.uploads import keep_longer
from service.request.auth import Call

FILM_SEED = 0  # so that edits of one film share its attention unless they ask for other noise


async def film_source(
    call: Call, body: EditVideo | AnalysedSource
) -> tuple[Recipe, ModelCard, FittedFilm]:
    """The recipe of the uploaded film that ``body`` names, fitted to the model.

    Raises NotFound, Unsupported (the model takes no uploads; the message names those that do),
    InvalidRequest.
    """
    assert body.video is not None
    assert body.source_prompt is not None
    upload = await call.state.uploads.get(call.project, body.video.id, "video.id")
    if upload.film is None:
        raise InvalidRequest(
            f"video.id: {upload.id!r} is a picture; allowed are videos", param="video.id"
        )
    card = await call.state.catalogue.pick(body.model, call.state.settings.default_model)
    if not card.supports_uploads:
        cards = await call.state.catalogue.cards()
        able = [each.id for each in cards.values() if each.supports_uploads]
        raise Unsupported(
            f"video: model {card.id!r} takes no uploaded videos; models that do: "
            f"{', '.join(able) or 'none is served here'}",
            param="video",
        )
    recipe = film_recipe(body, upload, upload.film, card)
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
    await keep_longer(call, upload, recipe.key(call.project))
    return recipe, card, shown


def film_recipe(
    body: EditVideo | AnalysedSource, upload: Upload, info: FilmInfo, card: ModelCard
) -> Recipe:
    """``upload`` as a source: what ``body`` leaves open is chosen to fit the film."""
    assert body.source_prompt is not None
    start_s = body.start_s or 0.0
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
