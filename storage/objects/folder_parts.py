"""A file written piece by piece, which becomes an object only once all of it is on disk.

It is written under ``.unfinished``, flushed, then linked or renamed to its name, and the folder is
flushed: a crash leaves the old object, the new one or an orphan, never half of one. A file that is
not ``durable`` is flushed whenever the system does so: no reader sees half of it, but a crash of
the host may leave half of it.
"""

import os
import uuid
from pathlib import Path
from typing import Self

from typing_extensions import Buffer

from storage.objects.objects import ObjectStoreError

UNFINISHED = ".unfinished"  # no key can name it: segments do not begin with a dot
_PLACE_TRIES = 16


class FilePartWriter:
    """One unfinished file, placed at its name by ``commit``."""

    def __init__(self, root: Path, key: str, *, durable: bool = True) -> None:
        self._root, self._key, self._durable = root, key, durable
        self._path = root / UNFINISHED / uuid.uuid4().hex
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by abort
        except OSError as error:
            raise store_error("write", key, error) from error

    def write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        try:
            while len(view):
                view = view[self._file.write(view) :]
        except OSError as error:
            self.abort()
            raise store_error("write", self._key, error) from error

    def commit(self, *, if_absent: bool = False) -> bool:
        try:
            if self._durable:
                os.fsync(self._file.fileno())
            return self._place(if_absent)
        except OSError as error:
            raise store_error("commit", self._key, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _place(self, if_absent: bool) -> bool:
        target = self._root / self._key
        for _ in range(_PLACE_TRIES):
            made = _make_folders(target.parent)
            try:
                if if_absent:
                    os.link(self._path, target)  # fails where the name exists: one winner
                else:
                    os.rename(self._path, target)
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue  # a delete pruned the folder in between
            if self._durable:
                for folder in {target.parent, *(path.parent for path in made)}:
                    _flush_folder(folder)
            return True
        raise ObjectStoreError(f"object {self._key}: its folder kept disappearing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.abort()


def _make_folders(folder: Path) -> list[Path]:
    """Create ``folder`` and its parents; returns those that were missing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store_error(verb: str, key: str, error: OSError) -> ObjectStoreError:
    """The error for the caller, with the system's words for the cause and without a path."""
    reason = os.strerror(error.errno) if error.errno else "unknown"
    return ObjectStoreError(f"cannot {verb} object {key}: {reason}")
