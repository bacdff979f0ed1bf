"""An uploaded film as latents: from the object store, through the reading process, to the VAE."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schemas.errors import UploadMissing
from schemas.films.upload import upload_key
from schemas.recipes import Recipe
from storage.films.reader import FilmLimits, read_frames, read_sound
from storage.objects.objects import ObjectMissing, ObjectStore
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel
from workers.models.vae_space import encode_video, pipeline_latents

_CHUNK_BYTES = 8 << 20


class FilmReader:
    """Of one project's uploads."""

    def __init__(self, objects: ObjectStore, project: str, limits: FilmLimits) -> None:
        self._objects, self._project, self._limits = objects, project, limits
        self._read: tuple[Recipe, Frames] | None = None  # the last one

    def frames(self, recipe: Recipe) -> Frames:
        """The film of ``recipe`` as fitted: (F, H, W, 3) uint8. Raises as ``latents`` does."""
        if self._read is not None and self._read[0] == recipe:
            return self._read[1]
        film, generation = recipe.film, recipe.generation
        assert film is not None
        size = (generation.width, generation.height)
        with self._file(film.sha256) as path:
            data = read_frames(path, film, size, generation.num_frames, self._limits)
        frames = np.frombuffer(bytearray(data), np.uint8)
        frames = frames.reshape(generation.num_frames, generation.height, generation.width, 3)
        self._read = recipe, frames
        return frames

    def latents(self, model: LoadedModel, recipe: Recipe) -> Tensor:
        """The film of ``recipe`` as the model's pipeline has latents: (1, …) float32.

        Raises FilmUnreadable, UploadMissing, ObjectStoreError.
        """
        return latents_of(model, torch.from_numpy(self.frames(recipe)))

    def sound(self, recipe: Recipe) -> bytes | None:
        """The film's sound beside the frames of ``recipe``, as ``read_sound`` gives it."""
        film, generation = recipe.film, recipe.generation
        assert film is not None
        seconds = generation.num_frames / film.fps
        with self._file(film.sha256) as path:
            return read_sound(path, film.start_s, seconds, self._limits)

    @contextmanager
    def _file(self, sha256: str) -> Iterator[Path]:
        """The upload as a local file, within the block."""
        key = upload_key(self._project, sha256)
        folder = Path(tempfile.mkdtemp(prefix="retake-film-"))
        try:
            size = self._objects.size(key)
            path = folder / "film"
            with path.open("wb") as file:
                for offset in range(0, size, _CHUNK_BYTES):
                    piece = memoryview(bytearray(min(_CHUNK_BYTES, size - offset)))
                    self._objects.read_into(key, offset, piece)
                    file.write(piece)
            yield path
        except ObjectMissing:
            raise UploadMissing(
                "the uploaded video was deleted before this job could read it"
            ) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def latents_of(model: LoadedModel, frames: Tensor) -> Tensor:
    """(1, …) float32 of ``frames`` (F, H, W, 3) uint8, as the model's pipeline has them."""
    pipeline = model.pipeline
    video = frames.movedim(-1, 0)[None].float() / 127.5 - 1  # (1, 3, F, H, W)
    try:
        coded = encode_video(pipeline.vae, video.to(pipeline._execution_device, pipeline.vae.dtype))
    finally:
        pipeline.maybe_free_model_hooks()
    return pipeline_latents(model.family, pipeline, coded, model.card.grid.patch)
