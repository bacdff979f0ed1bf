"""What is kept of a run's attention: as asked for, or as the server does by default."""

from schemas.attention import CaptureSpec
from schemas.errors import InvalidRequest
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from service.settings import ServiceSettings


def capture_spec(
    asked: bool | CaptureSpec | None, settings: ServiceSettings, card: ModelCard, recipe: Recipe
) -> CaptureSpec | None:
    """What is kept of the run, its form chosen; None: nothing.

    A spec of the caller's that does not fit is refused; a default that does not is left out.
    """
    if asked is False:
        return None
    if isinstance(asked, CaptureSpec):
        return _complete(asked, settings, card, recipe)
    default = settings.default_capture
    if default == "off" and not asked:
        return None
    try:
        if isinstance(default, CaptureSpec):
            return _complete(default, settings, card, recipe)
        limit = CaptureSpec(form=None, max_bytes=max(1, settings.capture_max_bytes))
        # the server's limit need not be filled
        return _complete(limit, settings, card, recipe).model_copy(update={"max_bytes": None})
    except InvalidRequest:
        return None


def _complete(
    spec: CaptureSpec, settings: ServiceSettings, card: ModelCard, recipe: Recipe
) -> CaptureSpec:
    form = resolve_capture(spec, card, recipe).form
    codec = "zipnn" if form == "latents" and spec.codec == "int8" else spec.codec
    ttl_s = spec.ttl_s or settings.attention_retention_s or None
    return spec.model_copy(update={"form": form, "codec": codec, "ttl_s": ttl_s})
