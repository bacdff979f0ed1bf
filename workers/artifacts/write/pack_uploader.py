"""Frames to packs to objects, in the order in which the denoising made them.

A pack holds frames of one step and branch. It is closed, and uploaded by a thread of its own,
when it has ``pack_bytes`` or when the denoising has gone on to another step.
"""

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from torch import Tensor
from typing_extensions import Buffer

from schemas.artifacts import Frame, Pack
from schemas.attention import Branch
from storage.objects.objects import ObjectStore
from storage.retry import OBJECT_STORE, retry
from workers.artifacts.codecs.codec import Encoded
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.write.buffer_pool import BufferPool


@dataclass
class OpenPack:
    name: str
    size: int = 0
    kept_bytes: int = 0  # counted by the pool: what is in no buffer of its own
    buffers: list[Tensor] = field(default_factory=list)  # what pieces are views of
    pieces: list[Buffer] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


class PackUploader:
    """``add`` and ``finish`` are for one thread at a time. ``folder``: where the objects go.

    ``on_failure`` is called, from an upload's thread, with what made an upload give up.
    """

    def __init__(
        self,
        objects: ObjectStore,
        folder: str,
        pool: BufferPool,
        settings: ArtifactSettings,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.nonce = secrets.token_hex(8)  # no two writers ever share a name
        self._objects = objects
        self._folder = folder
        self._pool = pool
        self._settings = settings
        self._on_failure = on_failure
        self._open: dict[tuple[int, Branch], OpenPack] = {}
        self._closed: dict[str, Pack | None] = {}  # in the order of opening
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(
            settings.upload_threads, thread_name_prefix="artifact-upload"
        )

    def add(self, frame: Frame, encoded: Encoded, buffer: Tensor | None) -> None:
        """Append; ``frame`` tells what it is, its offset is set here.

        ``buffer``: the pool's, if ``encoded`` borrows it; it goes back once it is uploaded.
        """
        for key in [key for key in self._open if key[0] != frame.step]:
            self._close(key)
        key = (frame.step, frame.branch)
        pack = self._open.get(key)
        if pack is None:
            name = f"{self.nonce}-{frame.step}-{frame.branch}-{len(self._closed)}.pack"
            pack = self._open[key] = OpenPack(name)
            self._closed[name] = None
        pack.frames.append(frame.model_copy(update={"offset": pack.size}))
        pack.pieces += encoded.pieces
        pack.size += encoded.size
        if buffer is None:
            pack.kept_bytes += encoded.size
        else:
            pack.buffers.append(buffer)
        if pack.size >= self._settings.pack_bytes:
            self._close(key)

    def finish(self) -> tuple[Pack, ...]:
        """Upload what is open and wait for all; the packs in order."""
        for key in list(self._open):
            self._close(key)
        self._threads.shutdown(wait=True)
        return tuple(pack for pack in self._closed.values() if pack)

    def stop(self) -> None:
        """Begin no more uploads, and wait for those that run."""
        self._stopped.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._open.clear()

    def keys(self) -> list[str]:
        """Every object that may have been written."""
        return [f"{self._folder}/{name}" for name in self._closed]

    def _close(self, key: tuple[int, Branch]) -> None:
        pack = self._open.pop(key)
        self._closed[pack.name] = Pack(name=pack.name, size=pack.size, frames=tuple(pack.frames))
        self._threads.submit(self._upload, pack)

    def _upload(self, pack: OpenPack) -> None:
        try:
            key = f"{self._folder}/{pack.name}"
            retry(
                # a pack can be made again, and what is read of it is checked
                lambda: self._objects.put(key, pack.pieces, durable=False),
                OBJECT_STORE,
                self._settings.store_patience_s,
                what=f"pack={key} upload",
                stopped=self._stopped,
            )
        except Exception as error:  # whatever ends this thread must reach the denoising
            self._on_failure(error)
        finally:
            pack.pieces.clear()
            self._pool.release(pack.kept_bytes)
            for buffer in pack.buffers:
                self._pool.give(buffer)
