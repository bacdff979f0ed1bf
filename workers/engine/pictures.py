"""The pictures that a job's runs start from: read from its folder, and given to its models."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from PIL import Image

from schemas.errors import PictureMissing
from schemas.jobs import JobSpec
from schemas.recipes import pixels_hash
from storage.objects.objects import ObjectMissing, ObjectStore
from workers.models.pipelines import LoadedModel

ModelOf = Callable[[str], LoadedModel]


@contextmanager
def with_pictures(objects: ObjectStore, spec: JobSpec, model_of: ModelOf) -> Iterator[ModelOf]:
    """``model_of``, whose models have, within the block, what the runs of ``spec`` start from.

    Raises PictureMissing, ObjectStoreError.
    """
    pictures = {name: read_picture(objects, spec, name) for name in spec.pictures()}
    with ExitStack() as given:

        def model_with(id: str) -> LoadedModel:
            model = model_of(id)
            model.pictures.update(pictures)
            given.callback(model.pictures.clear)
            return model

        yield model_with


def read_picture(objects: ObjectStore, spec: JobSpec, name: str) -> Image.Image:
    """The picture of that name that the job has: RGB, or grey if it is a mask. Raises
    PictureMissing if it is not there, or is not what its name says; ObjectStoreError."""
    try:
        data = objects.get(spec.picture_key(name))
    except ObjectMissing:
        raise PictureMissing("a picture or mask of the video is not stored") from None
    try:
        stored = Image.open(io.BytesIO(data), formats=("PNG",))
        mode: Literal["RGB", "L"] = "L" if stored.mode == "L" else "RGB"
        image = stored.convert(mode)
    except (OSError, ValueError, SyntaxError):
        image = None
    if image is None or pixels_hash(*image.size, image.tobytes(), mode) != name:
        raise PictureMissing("a picture or mask of the video is stored, but damaged")
    return image
