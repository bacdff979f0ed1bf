"""The object store in a folder: for one host, and for the embedded stack."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storage.objects.folder_parts import UNFINISHED, FilePartWriter, store_error
from storage.objects.objects import (
    BINARY,
    Data,
    ObjectInfo,
    ObjectMissing,
    ObjectStoreError,
    ObjectTruncated,
    check_key,
    folder_prefix,
)


class FolderStore:
    """Objects are files under ``root``, which is created at the first write.

    ``min_free_bytes``: with less free on its disk, ``check`` fails.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._root, self._min_free_bytes = Path(root), min_free_bytes

    def put(
        self,
        key: str,
        data: Data,
        *,
        content_type: str = BINARY,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        with FilePartWriter(self._root, check_key(key), durable=durable) as writer:
            for piece in data if isinstance(data, list) else [data]:
                writer.write(piece)
            return writer.commit(if_absent=if_absent)

    def put_parts(self, key: str, *, content_type: str = BINARY) -> FilePartWriter:
        return FilePartWriter(self._root, check_key(key))

    def get(self, key: str) -> bytes:
        with self._open(key) as file:
            return file.read()

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        view = buffer.cast("B")
        with self._open(key) as file:
            done = 0
            while done < len(view):
                count = os.preadv(file.fileno(), [view[done:]], offset + done)
                if count == 0:
                    raise ObjectTruncated(
                        f"object {key} ends at byte {offset + done}, "
                        f"asked for {offset} to {offset + len(view)}"
                    )
                done += count

    def stat(self, key: str) -> ObjectInfo:
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(key) from None
        except OSError as error:
            raise store_error("stat", key, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise ObjectMissing(key)
        return _info(key, found)

    def size(self, key: str) -> int:
        return self.stat(key).size

    def delete(self, *keys: str) -> None:
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
                self._prune(path.parent)
            except (NotADirectoryError, IsADirectoryError):
                continue  # no object of that name
            except OSError as error:
                raise store_error("delete", key, error) from error

    def delete_prefix(self, prefix: str) -> None:
        self.delete(*[info.key for info in self.list(prefix)])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self._walk(self._root / folder_prefix(prefix), folder_prefix(prefix))

    def presign(
        self,
        key: str,
        *,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str | None:
        return None

    def abort_unfinished(self, older_than_s: float) -> int:
        aborted = 0
        for entry in _scan(self._root / UNFINISHED):
            try:
                if time.time() - entry.stat().st_mtime >= older_than_s:
                    os.unlink(entry.path)
                    aborted += 1
            except FileNotFoundError:
                continue  # its writer ended meanwhile
        return aborted

    def check(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(self._root)
        except OSError as error:
            raise store_error("reach", "store", error) from error
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise ObjectStoreError("the folder of the object store cannot be written")
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self._min_free_bytes or free_bytes == 0:
            raise ObjectStoreError(f"the disk of the object store is full: {free_bytes} bytes left")

    def close(self) -> None:
        return None

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        try:
            with open(self._path(key), "rb") as file:
                yield file
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(key) from None
        except OSError as error:
            raise store_error("read", key, error) from error

    def _walk(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        for entry in _scan(folder):
            if entry.name.startswith("."):
                continue
            key = f"{prefix}{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(folder / entry.name, f"{key}/")
                elif entry.is_file(follow_symlinks=False):
                    yield _info(key, entry.stat())
            except FileNotFoundError:
                continue  # deleted while we listed

    def _prune(self, folder: Path) -> None:
        """Remove ``folder`` and its parents while they are empty; writers create them again."""
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _scan(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise store_error("list", folder.name, error) from error


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    etag = f"{found.st_mtime_ns:x}-{found.st_size:x}"
    return ObjectInfo(key, found.st_size, found.st_mtime, etag)
