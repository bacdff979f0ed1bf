"""A job's captured attention, from its first tensor to its manifest, or to nothing."""

import logging

from torch import Tensor

from schemas.errors import ArtifactWriteFailed
from workers.artifacts.write.writer import ArtifactWriter
from workers.attention.maps import Address

log = logging.getLogger("retake.worker")


class BestEffortCapture:
    """A capture on its way into the store; what fails there is lost, not the video."""

    def __init__(self, writer: ArtifactWriter, video_id: str) -> None:
        self._writer, self._video_id = writer, video_id
        self._failed = False

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        if not self._failed:
            try:
                self._writer.put(address, name, tensor)
            except ArtifactWriteFailed as error:
                self._give_up(error)

    def publish(self) -> str | None:
        if not self._failed:
            try:
                return self._writer.commit().key
            except ArtifactWriteFailed as error:
                self._give_up(error)
        return None

    def discard(self) -> None:
        self._writer.abort()

    def _give_up(self, error: ArtifactWriteFailed) -> None:
        log.error("job=%s attention not kept: %s", self._video_id, error.message)
        self._failed = True
        self._writer.abort()
