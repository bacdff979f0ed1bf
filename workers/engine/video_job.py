"""One job's video, in the order in which it is made: find the source, open the capture, generate.

A stored artifact is a cache: where it is missing, damaged or out of reach, the source is replayed
in the same job, and where a capture cannot be stored, the video is made without it.
"""

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import AttentionMissed, FilmUnreadable, PromptUnchanged, UploadMissing
from schemas.jobs import AttentionOrigin, JobSpec
from schemas.selection import ResolvedRecipe, resolve_recipe
from storage.films.reader import FilmLimits
from storage.objects.objects import ObjectStore, ObjectStoreError
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.attention.transfer import Capture, StoredAttention
from workers.control.engine_protocol import RenderedVideo
from workers.engine.best_effort_capture import (
    MISSED,
    NO_MEMORY,
    BestEffortCapture,
    open_capture,
    open_film_capture,
)
from workers.engine.edit_metrics import measured
from workers.engine.film_reader import FilmReader
from workers.engine.source_finder import SourceFinder
from workers.engine.source_frames import SourceFrames
from workers.engine.text_agreement import TextAgreement
from workers.families.pixels import Frames
from workers.generation.denoise import Generated, OnStep, denoise_only
from workers.generation.generate import generate
from workers.generation.journal import Journal, journals_folder
from workers.generation.mask import mask_pixels, put_into, region_mask
from workers.generation.replay import counted
from workers.models.pipelines import LoadedModel
from workers.models.prompts import ReadPrompt, read_prompt

if TYPE_CHECKING:
    from workers.engine.actors import Ranks  # Ray, which a worker of one rank need not load

log = logging.getLogger("retake.worker")

RESUMED = "the job went on from an earlier attempt, whose steps were not run again"


class Stores(NamedTuple):
    """Where a job reads and writes. ``journal_after_s``: see ``Journal``. ``films``: what reading
    an uploaded film may cost. ``agreement``: measures edits against their prompts, if any does."""

    objects: ObjectStore
    artifacts: ArtifactStore
    sources: SourceFinder
    journal_after_s: float
    films: FilmLimits = FilmLimits()
    agreement: TextAgreement | None = None


class VideoJob:
    """``ranks``: the processes that a model may be spread over; None: this one alone."""

    def __init__(
        self,
        stores: Stores,
        model: LoadedModel,
        spec: JobSpec,
        on_step: OnStep,
        ranks: "Ranks | None" = None,
    ) -> None:
        self._stores, self._model, self._spec = stores, model, spec
        self._on_step, self._ranks = on_step, ranks
        self._films = FilmReader(stores.objects, spec.project, stores.films)
        self._seen = SourceFrames(model, spec, stores.objects, self._films, stores.sources)
        self._told: OnStep | None = on_step
        self._film_passes = 0.0  # of the transformer, over the film before this edit of it
        self._prompt = self._read(spec.recipe.generation.prompt)
        self._resolved: ResolvedRecipe = resolve_recipe(spec.recipe, model.card)

    def run(self, *, keep: bool = True) -> RenderedVideo:
        """From stored attention where there is some. Raises what ``generate`` does.

        ``keep``: whether the capture that the job asks for is made.
        """
        self._told, self._film_passes = self._on_step, 0.0
        self._check_prompt()
        self._seen.prefetch()
        reader = self._open_source()
        if reader is None and keep and self._keep_film():
            reader = self._open_source()
        if reader is None:
            return self._make(None, keep=keep)
        try:
            with reader:
                return self._make(reader, keep=keep)
        except UNREADABLE as error:
            log.warning(
                "job=%s source unreadable (%s): replayed", self._spec.id, type(error).__name__
            )
        self._told = self._on_step
        return self._make(None, keep=keep)

    def _open_source(self) -> ArtifactReader | None:
        return self._stores.sources.open(self._model, self._spec, self._resolved.transfer)

    def _keep_film(self) -> bool:
        """Run the uploaded film that is edited, and store its attention for this edit and others.

        False: it was not to be, or could not be; the edit then runs the film itself.
        """
        source, transfer = self._spec.recipe.source, self._resolved.transfer
        if source is None or source.film is None or transfer is None:
            return False
        needed = transfer.needed()
        capture = open_film_capture(self._stores.artifacts, self._model, self._spec, needed)
        if capture is None:
            return False
        steps = source.generation.num_inference_steps
        told = counted(self._on_step, 0, steps)
        try:
            latents = self._films.latents(self._model, source)
            held = Capture(capture.plan, capture)
            self._film_passes = denoise_only(self._model, source, None, held, told, latents)
        except BaseException:
            capture.discard()
            raise
        if capture.publish() is None:
            return False
        self._told = counted(self._on_step, steps, 0, own=True)
        return True

    def _make(self, reader: ArtifactReader | None, *, keep: bool) -> RenderedVideo:
        source = self._kept_source(reader)
        journal = self._journal(reader)
        capture, not_captured = None, None
        if journal is not None and journal.resumes:  # what is not computed cannot be captured
            log.info("job=%s resumed from its journal", self._spec.id)
            not_captured = RESUMED if self._spec.capture else None
        elif not keep:
            not_captured = NO_MEMORY if self._spec.capture else None
        else:
            capture = open_capture(self._stores.artifacts, self._model, self._spec)
        try:
            with journal.open() if journal else contextlib.nullcontext():
                made = self._generate(reader, capture)
        except AttentionMissed as error:
            if capture is None or self._resolved.transfer is not None:
                raise
            capture.discard()
            log.error("job=%s made again, without capture: %s", self._spec.id, error)
            return self._make(reader, keep=False)._replace(not_captured=MISSED)
        except BaseException:
            if capture is not None:
                capture.discard()
            raise
        attention: AttentionOrigin = "none"
        if self._resolved.transfer is not None:
            attention = "replayed" if reader is None else "stored"
        video = RenderedVideo(
            made.frames,
            attention,
            capture,
            self._cost(made.passes + self._film_passes),
            made.seconds,
            not_captured,
            self._prompt.truncated,
            self._sound(),
        )
        return self._against_source(video, made, made.source if source is None else source)

    def _kept_source(self, reader: ArtifactReader | None) -> Frames | None:
        """The source's frames, of which an edit with a region keeps what is outside; None: it has
        none, or a replay will give them."""
        recipe = self._spec.recipe
        if reader is None or recipe.region is None or recipe.source is None:
            return None
        return self._seen.of(recipe.source)

    def _against_source(
        self, video: RenderedVideo, made: Generated, source: Frames | None
    ) -> RenderedVideo:
        """``video``, if it is an edit, kept to its region and measured."""
        recipe = self._spec.recipe
        if recipe.source is None:
            return video
        mask = region_mask(self._model, recipe)
        frames = put_into(self._model, recipe, video.frames, source)
        shown = self._seen.seen() if source is None else source
        passes = made.passes + self._film_passes
        metrics = measured(made, passes, frames, shown, mask)
        if self._stores.agreement is not None:
            agreed = self._stores.agreement.of_video(frames, recipe.generation.prompt)
            metrics = metrics.model_copy(update={"text_agreement": agreed})
        region = None if mask is None else mask_pixels(mask)
        return video._replace(frames=frames, region=region, metrics=metrics)

    def _read(self, prompt: str) -> ReadPrompt:
        return read_prompt(self._model.pipeline, self._model.family, prompt)

    def _check_prompt(self) -> None:
        """Raise PromptUnchanged for an edit by words that the model does not read.

        The source's own prompt may be given: it gives the source back.
        """
        edit, recipe = self._spec.recipe.generation, self._spec.recipe.source
        if recipe is None or edit.prompt == recipe.generation.prompt:
            return
        source = recipe.generation
        others = ("negative_prompt", "guidance_scale", "guidance_scale_2", "picture")
        same = all(getattr(edit, name) == getattr(source, name) for name in others)
        if same and self._prompt == self._read(source.prompt):
            limit = self._model.card.max_prompt_tokens
            raise PromptUnchanged(
                f"prompt: model {edit.model!r} reads the same of it as of the source's (its first "
                f"{limit} tokens), so the edit would be the source; put what changes first"
            )

    def _sound(self) -> bytes | None:
        """Of the uploaded film that the video goes back to; None: there is none, or it cannot be
        had, which is no reason to lose the video."""
        root = self._spec.recipe.chain()[-1]
        if root.film is None or not root.film.audio:
            return None
        if root.film.fps != self._spec.recipe.generation.fps:
            return None  # at another pace it would not fit
        try:
            return self._films.sound(root)
        except (FilmUnreadable, UploadMissing, ObjectStoreError) as error:
            log.warning("job=%s sound left out: %s", self._spec.id, type(error).__name__)
            return None

    def _cost(self, passes: float) -> float:
        """``passes`` over those of a plain generation of the same settings."""
        generation = self._spec.recipe.generation
        branches = len(self._model.family.branches(generation.guidance_scale))
        return round(passes / (generation.num_inference_steps * branches), 4)

    def _generate(
        self, reader: ArtifactReader | None, captured: BestEffortCapture | None
    ) -> Generated:
        """By this process, or by all ranks."""
        stored = None
        if reader is not None:
            stored = StoredAttention(reader.manifest.plan, reader, reader.recomputed)
        capture = Capture(captured.plan, captured) if captured else None
        if self._model.group is None:
            return generate(
                self._model,
                self._resolved,
                stored=stored,
                capture=capture,
                on_step=self._told,
                film=partial(self._films.latents, self._model),
                film_frames=self._films.frames,
            )
        assert self._ranks is not None
        return self._ranks.generate(
            self._model, self._resolved, stored=stored, capture=capture, on_step=self._told
        )

    def _journal(self, reader: ArtifactReader | None) -> Journal | None:
        """None for a model of several ranks: those beside this one could not follow it; and with
        a step cache, which what is read from a journal would leave empty."""
        if self._model.group is not None or self._spec.recipe.generation.step_cache is not None:
            return None
        way = reader.manifest.capture_key if reader else "replayed"
        folder = journals_folder(self._spec.project, self._spec.id)
        after_s = self._stores.journal_after_s
        return Journal(self._stores.objects, self._model, folder, way, after_s)
