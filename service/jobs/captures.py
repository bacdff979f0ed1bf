"""What is kept of a run's attention: what is to be, by request or default, and what is stored."""

import asyncio
import contextlib
from collections.abc import Collection

from schemas.artifacts import artifact_id, manifests_folder
from schemas.attention import CaptureSpec, Form
from schemas.capture_plan import Needed
from schemas.errors import InvalidRequest, NotFound
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from service.request.auth import Call
from service.settings import ServiceSettings
from storage.objects.objects import ObjectStore


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


async def list_kept(objects: ObjectStore, project: str, source_key: str) -> list[str]:
    """The ids of all artifacts of a source that are in the object store."""

    def read() -> list[str]:
        found = objects.list(manifests_folder(project, source_key))
        stems = [info.key.rpartition("/")[2].removesuffix(".json") for info in found]
        return [artifact_id(source_key, stem) for stem in stems]

    return await asyncio.to_thread(read)


async def is_kept(call: Call, recipe: Recipe, needed: Needed, forms: Collection[Form]) -> bool:
    """Whether all that is ``needed`` of the run's attention is stored, in one of ``forms``."""
    state, project = call.state, call.project
    for id in await list_kept(state.objects, project, recipe.key(project)):
        with contextlib.suppress(NotFound):
            plan = (await state.artifacts.get(project, id)).plan
            if plan.form in forms and plan.covers(needed):
                return True
    return False
