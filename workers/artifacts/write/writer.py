"""Capture to store: tensors are copied, encoded and uploaded beside the denoising.

put (denoising thread)   copy into the pool, device to pinned host; waits while the pool is full
                         (on a GPU the codec's arithmetic comes before the copy: ``device_layout``)
encode (threads)         bytes and checksum; the copy goes back to the pool, or, where the bytes
                         are views of it, once they are uploaded
pack, upload             see ``pack_uploader``: unique names; nobody reads them yet
commit                   the manifest, last and only if there is none
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import torch
from torch import Tensor

from schemas.artifacts import Frame, Manifest
from schemas.attention import CodecName
from schemas.capture_plan import INPUTS
from schemas.errors import ArtifactWriteFailed
from storage.objects.objects import ObjectStore, ObjectStoreError
from storage.retry import OBJECT_STORE, retry
from workers.artifacts.codecs.codec import Encoded, encode, encode_packed
from workers.artifacts.codecs.device_layout import DeviceLayout
from workers.artifacts.codecs.layout_registry import device_layout_of
from workers.artifacts.codecs.tensors import as_array, as_rows, dtype_name
from workers.artifacts.cost_model import StepClock
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.write.buffer_pool import BufferPool, PoolClosed
from workers.artifacts.write.pack_uploader import PackUploader
from workers.artifacts.write.publish import (
    Target,
    check_complete,
    find_published,
    manifest_of,
    publish,
)
from workers.artifacts.write.staging import Staging
from workers.attention.maps import Address

log = logging.getLogger("retake.artifacts")
T = TypeVar("T")


class Task:
    """Some rows on their way: ``copied`` is when the device is done; then ``encoded``.

    ``packed``: the codec's arithmetic is done. ``buffer``: held while anything needs it.
    """

    def __init__(
        self, frame: Frame, buffer: Tensor, copied: torch.cuda.Event | None, packed: bool
    ) -> None:
        self.frame = frame
        self.buffer: Tensor | None = buffer
        self.copied = copied
        self.packed = packed
        self.encoded: Encoded | None = None


class ArtifactWriter:
    """A MapSink that ends in ``commit`` or ``abort``; leaving a ``with`` block aborts.

    ``put`` and ``commit`` raise ArtifactWriteFailed once anything behind them failed.
    ``elsewhere``: the same is kept already, or being captured by another worker: nothing is
    taken, and ``commit`` gives what the other has published. ``on_end`` is called once, with
    what readers see, or None.
    """

    def __init__(
        self,
        objects: ObjectStore,
        settings: ArtifactSettings,
        target: Target,
        *,
        clock: StepClock,
        elsewhere: bool = False,
        on_end: Callable[[Manifest | None], None] = lambda manifest: None,
    ) -> None:
        self.target = target
        self.elsewhere = elsewhere
        self._clock = clock
        self._on_end = on_end
        self.folder = target.folder
        self.pool = BufferPool(settings.pool_bytes, pinned=torch.cuda.is_available())
        self._objects = objects
        self._settings = settings
        self._uploader = PackUploader(objects, self.folder, self.pool, settings, self._fail)
        self._encoders = ThreadPoolExecutor(
            settings.encode_threads, thread_name_prefix="artifact-encode"
        )
        self._tasks: deque[Task] = deque()  # in the order of the denoising
        self._packing = threading.Lock()
        self._failure: Exception | None = None
        self._done = False
        self._staging = Staging()

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        """Take a copy of ``tensor``, of any shape; waits while the store is behind."""
        self._clock.at(address.step)
        if self.elsewhere:
            return
        if self._done:
            raise self._error()
        began = time.monotonic()
        self._put(address, name, tensor)
        self._clock.add_wait(time.monotonic() - began)

    def _put(self, address: Address, name: str, tensor: Tensor) -> None:
        rows = as_rows(tensor)
        total, width = rows.shape
        row_bytes = width * tensor.element_size()
        count = max(1, self._settings.frame_bytes // row_bytes)
        packing = device_layout_there(rows, self._codec(address))
        taken = self._staging.take(rows, packing, count)
        for number, start in enumerate(range(0, total, count)):
            stop = min(start + count, total)
            frame = self._frame(address, name, tensor, (start, stop))
            if packing is None:
                part = taken[start:stop]
            else:
                part = taken[number, : packing.size(stop - start, width)]
            try:
                buffer = self.pool.take(part.nbytes)
            except PoolClosed:
                raise self._error() from self._failure
            task = Task(frame, buffer, self._staging.copy(part, buffer), packing is not None)
            self._tasks.append(task)
            self._encoders.submit(self._encode, task)

    def _frame(self, address: Address, name: str, tensor: Tensor, rows: tuple[int, int]) -> Frame:
        """What is known before they are encoded; the rest stands in."""
        return Frame(
            name=name,
            step=address.step,
            branch=address.branch,
            layer=address.layer,
            codec=self._codec(address),
            dtype=dtype_name(tensor),
            shape=tuple(tensor.shape),
            rows=rows,
            offset=0,
            size=1,
            crc32c=0,
        )

    def _codec(self, address: Address) -> CodecName:
        """The plan's; but a loss in inputs or outputs would be one of the whole video."""
        codec = self.target.plan.codec
        return "zipnn" if codec == "int8" and address.layer == INPUTS else codec

    def commit(self) -> Manifest:
        """Publish; the manifest that readers will see: another writer's, if it was first."""
        if self.elsewhere:
            return self._others()
        self._encoders.shutdown(wait=True)
        packs = self._uploader.finish()
        if self._failure is not None:
            self.abort()
            raise self._error() from self._failure
        manifest = manifest_of(self.target, packs)
        try:
            check_complete(manifest)
            visible = self._retry(lambda: publish(self._objects, manifest))
        except Exception as error:  # whatever it was, nothing may be left behind
            self._failure = error
            self.abort()
            raise self._error() from error
        self._done = True
        self.pool.close()
        if visible.packs != packs:
            self._forget_packs()
        first = "by this writer" if visible.packs == packs else "by another, first"
        log.info(
            "artifact=%s published %s form=%s stored_bytes=%d decoded_bytes=%d waits=%d",
            self.folder,
            first,
            manifest.form,
            manifest.stored_bytes,
            manifest.decoded_bytes,
            self.pool.waited,
        )
        self._on_end(visible)
        return visible

    def abort(self) -> None:
        """Forget everything; what was uploaded is deleted, or left to the collector."""
        if self._done:
            return
        self._done = True
        self.pool.close()
        self._encoders.shutdown(wait=True, cancel_futures=True)
        self._uploader.stop()
        self._tasks.clear()
        self._forget_packs()
        self._on_end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _others(self) -> Manifest:
        """What another worker has published, if it has."""
        try:
            visible = self._retry(lambda: find_published(self._objects, self.target.key))
        except ObjectStoreError:
            visible = None
        if visible is None:
            self.abort()
            raise ArtifactWriteFailed(
                "another video with the same settings was capturing it, and was not done yet"
            )
        self._done = True
        self._on_end(visible)
        return visible

    def _encode(self, task: Task) -> None:
        try:
            if task.copied is not None:
                task.copied.synchronize()
            frame, buffer = task.frame, task.buffer
            assert buffer is not None
            if task.packed:
                encoded = encode_packed(frame.codec, buffer.numpy(), frame.width)
            else:
                rows = as_array(buffer, frame.dtype, frame.width)
                encoded = encode(frame.codec, rows, frame.dtype)
            if not encoded.borrows:
                task.buffer = None
                self.pool.give(buffer, keep_bytes=encoded.size)
            task.encoded = encoded
            self._pack_ready()
        except Exception as error:  # whatever ends this thread must reach the denoising
            self._fail(error)

    def _pack_ready(self) -> None:
        """Pack what is encoded and whose predecessors are packed."""
        with self._packing:
            while self._tasks and self._tasks[0].encoded is not None:
                task = self._tasks.popleft()
                encoded = task.encoded
                assert encoded is not None
                described = task.frame.model_copy(
                    update={
                        "codec": encoded.codec,
                        "codec_version": encoded.version,
                        "size": encoded.size,
                        "crc32c": encoded.crc32c,
                    }
                )
                self._uploader.add(described, encoded, task.buffer)

    def _retry(self, call: Callable[[], T]) -> T:
        patience_s = self._settings.store_patience_s
        return retry(call, OBJECT_STORE, patience_s, what=f"artifact={self.folder} manifest")

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            log.error("artifact=%s failed: %s", self.folder, type(error).__name__)
        self.pool.close()

    def _error(self) -> ArtifactWriteFailed:
        if isinstance(self._failure, ArtifactWriteFailed):
            return self._failure
        return ArtifactWriteFailed("the attention of this video could not be stored")

    def _forget_packs(self) -> None:
        try:
            self._objects.delete(*self._uploader.keys())
        except Exception as error:  # any store's trouble: the collector will take them
            log.warning("artifact=%s packs left behind: %s", self.folder, type(error).__name__)


def device_layout_there(rows: Tensor, codec: CodecName) -> DeviceLayout | None:
    """How ``rows`` are packed where they are. Not on a CPU: torch would wake all its threads."""
    return device_layout_of(codec, rows.dtype, rows.device) if rows.is_cuda else None
