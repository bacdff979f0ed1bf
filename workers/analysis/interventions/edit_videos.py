"""The videos of one edit in a layer sweep: all take from one source, several in a batch.

The source is run once and its attention kept in memory: hidden states where they fit, else its
latents, whose layers are run again in step with the edits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.capture_plan import CapturePlan
from schemas.errors import Unsupported
from schemas.recipes import Recipe
from schemas.resolve_capture import form_bytes
from schemas.selection import ResolvedRecipe, resolve_recipe
from workers.analysis.interventions.distances import change_made, distance
from workers.analysis.interventions.settings import FIGURES, Setting
from workers.analysis.interventions.videos import Progress, Wish, denoise_batch, make_videos
from workers.analysis.measures.estimates import Array
from workers.attention.maps import MemoryMaps
from workers.attention.stored_source import transfer_from
from workers.attention.transfer import Capture, StoredAttention, Transfer
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel

HIDDEN_BYTES = 4 << 30  # of a source's hidden states in memory; above it, its latents are kept


class Scorer(NamedTuple):
    """A measure of an edit's video. ``score(edit, source, plain, number)`` is given the frames of
    the three, and which of the sweep's edits it is."""

    unit: str
    definition: str
    score: Callable[[Frames, Frames, Frames, int], float]


class EditVideos:
    """One edit. Raises SourceMismatch, Unsupported, InvalidRequest for one that cannot be swept.

    ``stills``: the middle frames of the source and of what was measured, in order.
    """

    def __init__(
        self,
        model: LoadedModel,
        edit: Recipe,
        number: int,
        scorers: Mapping[str, Scorer],
        hidden_bytes: int = HIDDEN_BYTES,
    ) -> None:
        if edit.source is None or edit.source.source is not None:
            raise Unsupported(
                f"sources.{number}: a layer sweep needs an edit whose source is a plain generation",
                param=f"sources.{number}",
            )
        if edit.region is not None:
            raise Unsupported(
                f"sources.{number}: a layer sweep changes whole videos, and this edit is kept to "
                "a region; sweep it without one",
                param=f"sources.{number}",
            )
        resolved = resolve_recipe(edit, model.card)
        assert resolved.transfer is not None
        self._resolved, self._transfer = resolved, resolved.transfer
        self.model, self.edit, self.number = model, edit, number
        self.source = edit.source
        self.stills: list[NDArray[np.uint8]] = []
        self._scorers, self._hidden_bytes = scorers, hidden_bytes
        self._source_frames: Frames | None = None
        self._plain: Frames | None = None

    def measure(self, settings: Sequence[Setting], progress: Progress) -> Array:
        """Make each setting's video: (setting, figure), in the order of ``FIGURES`` and scorers.

        The first time one of kind plain must come first: the others are held against it.
        """
        found = np.full((len(settings), len(FIGURES) + len(self._scorers)), np.nan)
        layers = tuple(sorted({layer for setting in settings for layer in setting.layers}))
        with self._source(layers, progress) as transfer:
            start = 0
            if self._plain is None:
                assert settings[0].kind == "plain"
                wishes = [Wish(self.edit.generation)]
                ((_, self._plain),) = make_videos(self.model, wishes, progress)
                found[0] = self._noted(self._plain)
                start = 1
            wishes = [self._wish(setting, transfer) for setting in settings[start:]]
            for number, frames in make_videos(self.model, wishes, progress):
                found[start + number] = self._noted(frames)
        return found

    def _wish(self, setting: Setting, transfer: Transfer) -> Wish:
        resolved = self._transfer.model_copy(update={"layers": setting.layers})
        return Wish(self.edit.generation, transfer=replace(transfer, resolved=resolved))

    def _noted(self, frames: Frames) -> list[float]:
        self.stills.append(frames[len(frames) // 2])
        return self._figures(frames)

    def _figures(self, frames: Frames) -> list[float]:
        assert self._source_frames is not None
        assert self._plain is not None
        source, plain = self._source_frames, self._plain
        far = distance(frames, source)
        figures = [far.edges, far.ssim, far.psnr, change_made(frames, source, plain)]
        scorers = self._scorers.values()
        return figures + [each.score(frames, source, plain, self.number) for each in scorers]

    @contextmanager
    def _source(self, layers: tuple[int, ...], progress: Progress) -> Iterator[Transfer]:
        """What the edit takes of the source's ``layers``; the source's video is made."""
        model, generation = self.model, self.source.generation
        plan = CapturePlan(
            form="hidden",
            codec="raw",
            layers=self._transfer.region_layers or layers,
            steps=self._transfer.needed_steps,
            branches=self._transfer.needed_branches,
            outputs=self._transfer.anchor is not None,
        )
        if form_bytes("hidden", plan, model.card, generation) > self._hidden_bytes:
            plan = plan.model_copy(update={"form": "latents"})
        maps = MemoryMaps()
        frames = denoise_batch(model, [Wish(generation)], progress, Capture(plan, maps))[0]
        if self._source_frames is None:
            self._source_frames = frames
            self.stills.append(frames[len(frames) // 2])
        wanted = self._transfer.model_copy(update={"layers": layers})
        resolved = ResolvedRecipe(self.edit, (wanted, *self._resolved.transfers[1:]))
        with transfer_from(StoredAttention(plan, maps), model.hooks, resolved) as transfer:
            yield transfer
