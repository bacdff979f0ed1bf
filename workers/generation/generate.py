"""One recipe, run on the stock pipeline: plain, with stored attention, or beside its source."""

from schemas.errors import InvalidRequest, Unsupported
from schemas.recipes import Generation
from schemas.resolve_capture import forms_of
from schemas.selection import ResolvedRecipe
from workers.attention.stored_source import transfer_from
from workers.attention.transfer import Capture, StoredAttention
from workers.generation.denoise import Generated, OnStep, denoise
from workers.generation.find_region import find_region
from workers.generation.replay import FilmFrames, FilmLatents, replay
from workers.models.pipelines import LoadedModel


def generate(
    model: LoadedModel,
    resolved: ResolvedRecipe,
    *,
    stored: StoredAttention | None = None,
    capture: Capture | None = None,
    on_step: OnStep | None = None,
    film: FilmLatents | None = None,
    film_frames: FilmFrames | None = None,
) -> Generated:
    """The video of a recipe.

    ``stored``: the attention of its source; without it the source is replayed. ``on_step`` may
    raise (JobCancelled) to stop: nothing of the run is left behind. ``film``: gives the latents
    of an uploaded film, where the chain begins with one. ``film_frames``: gives its frames; with it
    a replay of the source of an edit with a region gives that source's frames too.
    Raises SourceMismatch, Unsupported, InvalidRequest, ArtifactMissing, ArtifactCorrupt.
    """
    check_fits(model, resolved, capture)
    if stored is None and resolved.recipe.chain()[-1].film is not None and film is None:
        raise Unsupported("an uploaded video cannot be made again: no model made it")
    if resolved.transfer is None:
        return denoise(model, [resolved.recipe], (None,), capture, on_step)
    if stored is None:
        return replay(model, resolved, capture, on_step, film, film_frames)
    with transfer_from(stored, model.hooks, resolved) as transfer:
        passes = find_region(model, resolved.recipe, transfer)
        made = denoise(model, [resolved.recipe], (transfer,), capture, on_step)
        return made._replace(passes=made.passes + passes)


def check_fits(model: LoadedModel, resolved: ResolvedRecipe, capture: Capture | None) -> None:
    """Refuse what would give a wrong video: another model, unknown LoRAs, a form too poor."""
    for each in resolved.recipe.chain():
        if each.generation.fingerprint != model.card.fingerprint:
            raise Unsupported(
                f"model: {each.generation.model!r} is not loaded here in the version that the "
                "recipe names",
                param="model",
            )
        if each.generation.step_cache is not None:
            model.card.check_step_cache(each.generation.step_cache)
        _check_picture(model, each.generation)
        for name, _ in each.generation.loras:
            if name not in model.settings.loras:
                known = ", ".join(sorted(model.settings.loras)) or "none"
                raise InvalidRequest(
                    f"loras: {name!r} is not known; known is {known}", param="loras"
                )
    if capture is not None:
        _check_form(model, resolved, capture)


def _check_picture(model: LoadedModel, generation: Generation) -> None:
    if generation.picture is not None and "image" not in model.card.inputs:
        raise Unsupported(
            f"input_reference: model {model.card.id!r} starts from text alone",
            param="input_reference",
        )
    if generation.picture is None and "image" in model.card.required_inputs:
        raise InvalidRequest(
            f"input_reference: is required: model {model.card.id!r} starts from a picture",
            param="input_reference",
        )


def _check_form(model: LoadedModel, resolved: ResolvedRecipe, capture: Capture) -> None:
    form = capture.plan.form
    in_parts = model.settings.compile != "none" or model.settings.ranks > 1
    if form == "dense" and in_parts:
        raise Unsupported(
            "capture.form: 'dense' is not offered for compiled models, nor for those spread over "
            "several ranks; use qk",
            param="capture.form",
        )
    if not model.card.supports_transfer:
        raise Unsupported(
            f"capture: the attention of {model.card.id!r} cannot be kept: "
            f"{model.card.no_transfer_reason}",
            param="capture",
        )
    possible = forms_of(model.card, resolved.recipe)
    if form not in possible:
        raise Unsupported(
            f"capture.form: {form!r} cannot hold the attention of this run; allowed is "
            f"{', '.join(possible)}",
            param="capture.form",
        )
