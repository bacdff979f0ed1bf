"""The object store's contract: named bytes, written whole or not at all.

Implemented by ``FolderStore`` and ``S3Store``, which pass the same tests. Calls block and are
thread-safe. Keys are relative, ``/`` between segments; a prefix names a folder, so ``videos/a``
never matches ``videos/ab``.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self

from typing_extensions import Buffer

Data = Buffer | list[Buffer]  # a list: pieces that are joined
BINARY = "application/octet-stream"
_SEGMENT = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,199}")
_KEY_MAX = 900  # S3 allows 1,024 bytes, and the store's own prefix comes before


class ObjectMissing(Exception):
    """No object of that name."""


class ObjectStoreError(Exception):
    """The store failed after the client's own retries; the same call may succeed later."""


class ObjectTruncated(ObjectStoreError):
    """The object ends before the range that was asked for."""


class ObjectInfo(NamedTuple):
    """``modified_at``: Unix seconds. ``etag``: changes when the bytes do; without quotes."""

    key: str
    size: int
    modified_at: float
    etag: str


class PartWriter(Protocol):
    """An object written piece by piece; nobody sees it before ``commit``.

    Leaving a ``with`` block without ``commit`` aborts. For one thread at a time.
    """

    def write(self, data: Buffer) -> None:
        """Take ``data`` (copied before it returns); may upload while the caller goes on."""

    def commit(self, *, if_absent: bool = False) -> bool:
        """Publish. False: ``if_absent`` was set, and the object exists already."""

    def abort(self) -> None:
        """Drop what was written; safe to call again, and after ``commit``."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class ObjectStore(Protocol):
    """Every method may raise ObjectStoreError, and ValueError for a key that is not allowed."""

    def put(
        self,
        key: str,
        data: Data,
        *,
        content_type: str = BINARY,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        """Write all of ``data``. False: ``if_absent`` was set, and the object exists already.

        ``durable`` False: the write need not survive a crash of the host, which may leave the
        object missing, short or with other bytes. For what can be made again, and is checked when
        it is read.

        If an answer was lost and the write was tried again, False may mean that the first try
        succeeded: the caller reads the object to see whether it is its own.
        """
        ...

    def put_parts(self, key: str, *, content_type: str = BINARY) -> PartWriter: ...

    def get(self, key: str) -> bytes:
        """All bytes; raises ObjectMissing."""
        ...

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from byte ``offset``; raises ObjectMissing, ObjectTruncated."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Size, time and ETag; raises ObjectMissing."""
        ...

    def size(self, key: str) -> int:
        """Bytes; raises ObjectMissing."""
        ...

    def delete(self, *keys: str) -> None:
        """Delete; a missing object is no error."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object in the folder ``prefix``."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object in the folder ``prefix`` ("" for all), at any depth, in no order."""
        ...

    def presign(
        self,
        key: str,
        *,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str | None:
        """A URL that reads the object for ``expires_s`` seconds; None: this store has none."""
        ...

    def abort_unfinished(self, older_than_s: float) -> int:
        """Drop writes that began that long ago and were never committed; returns how many."""
        ...

    def check(self) -> None:
        """Raise ObjectStoreError if nothing can be written: it is away, full or read-only."""

    def close(self) -> None: ...


def check_key(key: str) -> str:
    """``key`` itself, or ValueError: no empty, hidden, absolute or climbing segment."""
    if len(key) > _KEY_MAX or not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"object key {key!r} is not allowed")
    return key


def folder_prefix(prefix: str) -> str:
    """``prefix`` ending in one ``/``, or "" for everything; ValueError as ``check_key``."""
    return f"{check_key(prefix.rstrip('/'))}/" if prefix else ""
