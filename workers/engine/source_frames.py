"""The frames of an edit's source, of which it keeps what its region leaves out."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import av

from schemas.errors import ArtifactMissing, FilmUnreadable, UploadMissing
from schemas.jobs import JobSpec
from schemas.recipes import Recipe
from storage.objects.objects import ObjectStore, ObjectStoreError
from workers.control.mp4 import decode_frames
from workers.engine.film_reader import FilmReader
from workers.engine.source_finder import SourceFinder
from workers.families.pixels import Frames
from workers.generation.mask import put_into
from workers.generation.source_walk import walk_source
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")


class SourceFrames:
    """Of one job."""

    def __init__(
        self,
        model: LoadedModel,
        spec: JobSpec,
        objects: ObjectStore,
        films: FilmReader,
        sources: SourceFinder,
    ) -> None:
        self._model, self._spec, self._objects = model, spec, objects
        self._films, self._sources = films, sources
        self._coming: Future[Frames | None] | None = None

    def prefetch(self) -> None:
        """Read the source's mp4 in a thread, while the edit is denoised: ``seen`` waits for it.

        Not where the source is an uploaded film, which the denoising itself may read, or where the
        edit has a region and is measured against what ``of`` gives.
        """
        recipe = self._spec.recipe
        if recipe.source is None or recipe.source.film or recipe.region or self._coming:
            return
        if self._spec.source_video_key is not None:
            thread = ThreadPoolExecutor(1, "source-frames")
            self._coming = thread.submit(self._read)
            thread.shutdown(wait=False)

    def seen(self) -> Frames | None:
        """What clients see of the source, to measure the edit by: an uploaded film, or the mp4 of
        the video that the edit names. None: neither is at hand, which is no reason to fail."""
        return self._read() if self._coming is None else self._coming.result()

    def _read(self) -> Frames | None:
        spec = self._spec
        source, generation = spec.recipe.source, spec.recipe.generation
        try:
            if source is not None and source.film is not None:
                return self._films.frames(source)
            if spec.source_video_key is None:
                return None
            video = self._objects.get(spec.source_video_key)
            return decode_frames(video, generation.width, generation.height)
        except (FilmUnreadable, UploadMissing, ObjectStoreError, av.FFmpegError) as error:
            log.warning("job=%s source not seen: %s", spec.id, type(error).__name__)
            return None

    def of(self, recipe: Recipe) -> Frames:
        """(F, H, W, 3) uint8: an uploaded film's own, as fitted; else what the stored outputs of
        the run are decoded to, which is what the run itself was.

        Raises ArtifactMissing where they are not stored, and what reading them raises.
        """
        if recipe.film is not None:
            return self._films.frames(recipe)
        if recipe.region is not None and recipe.region.mask is None:
            raise ArtifactMissing("the region of the source is what a run of it finds")
        reader = self._sources.open_outputs(self._model, self._spec, recipe)
        if reader is None:
            raise ArtifactMissing("the outputs of the source's run are not stored")
        with reader:
            frames = walk_source(self._model, recipe, reader)
        if recipe.region is None:
            return frames
        assert recipe.source is not None
        return put_into(self._model, recipe, frames, self.of(recipe.source))
