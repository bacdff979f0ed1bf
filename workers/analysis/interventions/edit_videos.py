"""The videos of one edit in a layer sweep: all take from one source, several in a batch.

The source is run once and its attention kept in memory: hidden states where they fit, else its
latents, whose layers are run again in step with the edits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.attention import CaptureSpec, Form, TransferSpec
from schemas.errors import Unsupported
from schemas.recipes import Recipe, check_same_shot
from schemas.selection import check_branches, form_bytes, resolve_capture, resolve_transfer
from workers.analysis.interventions.distances import change_made, distance
from workers.analysis.interventions.settings import FIGURES, Setting
from workers.analysis.interventions.videos import Progress, Wish, denoise_batch, make_videos
from workers.analysis.measures.estimates import Array
from workers.attention.edit import capture_into, transfer_from
from workers.attention.maps import MapSource, MemoryMaps
from workers.attention.recomputed_source import RecomputedSource
from workers.families.base import Frames
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
                f"sources[{number}]: a layer sweep needs an edit whose source is a plain "
                "generation",
                param=f"sources[{number}]",
            )
        check_same_shot(edit.generation, edit.source.generation)
        self._transfer = resolve_transfer(
            edit.transfer or TransferSpec(), model.card, edit.generation
        )
        check_branches(self._transfer, model.card, edit.source.generation)
        self.model, self.edit, self.number = model, edit, number
        self.source = edit.source
        self.stills: list[NDArray[np.uint8]] = []
        self._scorers, self._hidden_bytes = scorers, hidden_bytes
        self._source_frames: Frames | None = None
        self._plain: Frames | None = None

    def measure(self, settings: Sequence[Setting], progress: Progress) -> Array:
        """Make each setting's video: (setting, figure), in the order of ``FIGURES`` and scorers.

        The first time a plain one must be among them and come first, for the others are held
        against it.
        """
        found = np.full((len(settings), len(FIGURES) + len(self._scorers)), np.nan)
        layers = frozenset(layer for setting in settings for layer in setting.layers)
        with self._source(layers, progress) as (attention, form):
            wishes = [self._wish(setting, attention, form) for setting in settings]
            for number, frames in make_videos(self.model, wishes, progress):
                if self._plain is None:
                    assert settings[number].kind == "plain"
                    self._plain = frames
                found[number] = self._figures(frames)
                self.stills.append(frames[len(frames) // 2])
        return found

    def _wish(self, setting: Setting, attention: MapSource, form: Form) -> Wish:
        if not setting.layers:
            return Wish(self.edit.generation)
        resolved = self._transfer.model_copy(update={"layers": setting.layers})
        transfer = transfer_from(attention, form, resolved)
        return Wish(self.edit.generation, transfer=transfer)

    def _figures(self, frames: Frames) -> list[float]:
        assert self._source_frames is not None
        assert self._plain is not None
        source, plain = self._source_frames, self._plain
        far = distance(frames, source)
        figures = [far.edges, far.ssim, far.psnr, change_made(frames, source, plain)]
        scorers = self._scorers.values()
        return figures + [each.score(frames, source, plain, self.number) for each in scorers]

    @contextmanager
    def _source(
        self, layers: frozenset[int], progress: Progress
    ) -> Iterator[tuple[MapSource, Form]]:
        """The source's attention in ``layers``, and the form that it yields; its video is made."""
        model, transfer = self.model, self._transfer
        spec = CaptureSpec(
            form="hidden",
            layers=tuple(sorted(layers)) or None,
            steps=transfer.steps,
            branches=transfer.needed_branches,
        )
        plan = resolve_capture(spec, model.card, self.source)
        generation = self.source.generation
        form: Form = "hidden"
        if form_bytes("hidden", plan, model.card, generation) > self._hidden_bytes:
            form = "latents"
            plan = resolve_capture(CaptureSpec(form=form), model.card, self.source)
        maps = MemoryMaps()
        wishes = [Wish(generation)]
        frames = denoise_batch(model, wishes, progress, capture_into(maps, plan))[0]
        if self._source_frames is None:
            self._source_frames = frames
            self.stills.append(frames[len(frames) // 2])
        if form == "hidden":
            yield maps, form
            return
        with RecomputedSource(
            model.hooks,
            maps,
            layers=layers,
            branches=model.family.branches(generation.guidance_scale),
        ) as rerun:
            yield rerun, "hidden"
