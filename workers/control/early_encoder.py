"""The mp4 of a video whose later frames are still being decoded."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from schemas.recipes import Recipe
from workers.control.engine_protocol import PendingFrames
from workers.control.media import upscale
from workers.control.mp4 import Frames, Mp4Encoder
from workers.media_settings import MediaSettings

log = logging.getLogger("retake.worker")


class EarlyEncoder:
    """Encodes frames in a thread of its own, as ``take`` is told of them.

    What it was told may not be what becomes of the video (a source that is decoded beside its edit,
    a run that is made again), so that its file counts where the video has just those frames.
    """

    def __init__(self, recipe: Recipe, settings: MediaSettings) -> None:
        self._generation, self._settings = recipe.generation, settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="early-encoder")
        self._pieces: list[Future[None]] = []
        self._run = 0  # of the decoder; what is left of an earlier one is skipped
        self._encoder: Mp4Encoder | None = None
        self._encoded: list[NDArray[np.uint8]] = []

    def take(self, frames: PendingFrames, first: bool) -> None:
        """The next frames; the first ones of a video where ``first``. Does not wait for them."""
        if first:
            self._run += 1
            self._pieces.clear()
        self._pieces.append(self._thread.submit(self._add, frames, first, self._run))

    def video_of(self, frames: Frames) -> bytes | None:
        """The mp4 of ``frames``; None where others came early, or none."""
        try:
            for piece in self._pieces:
                piece.result()
            if self._encoder is None or not self._encoded_just(frames):
                return None
            return self._encoder.finish()
        except Exception:  # it was early: the frames are all there now
            log.warning("frames were not encoded while others were decoded", exc_info=True)
            return None

    def close(self) -> None:
        """End the thread; what it has not begun is left out."""
        self._thread.shutdown(cancel_futures=True)
        self._let_go()

    def _add(self, frames: PendingFrames, first: bool, run: int) -> None:
        if run != self._run:
            return
        images = frames()
        if first:
            self._let_go()
        for image, larger in zip(images, upscale(images, self._settings), strict=True):
            if self._encoder is None:
                self._encoder = self._open(larger)
            self._encoder.add(larger)
            self._encoded.append(image)

    def _open(self, image: NDArray[np.uint8]) -> Mp4Encoder:
        height, width = image.shape[:2]
        settings, generation = self._settings, self._generation
        count, fps = generation.num_frames, generation.fps
        return Mp4Encoder(count, height, width, fps, settings.crf, settings.preset)

    def _encoded_just(self, frames: Frames) -> bool:
        count = self._generation.num_frames  # what the file has room for
        encoded = self._encoded
        return len(encoded) == len(frames) == count and all(map(np.array_equal, encoded, frames))

    def _let_go(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder, self._encoded = None, []


def is_decoded_as_shown(recipe: Recipe) -> bool:
    """Whether the frames that a VAE gives are the video's, and nothing else goes into its file."""
    film = recipe.chain()[-1].film
    return recipe.region is None and (film is None or not film.audio)
