"""What only the folder has: files, a disk that is full, and processes that die while they write."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.objects.folder import FolderStore
from storage.objects.objects import ObjectMissing, ObjectStoreError

WRITER = """
import sys
from pathlib import Path
from storage.objects.folder import FolderStore
writer = FolderStore(Path(sys.argv[1])).put_parts("videos/a")
writer.write(bytes(100_000))
print("written", flush=True)
sys.stdin.read()
"""

FULL = """
import resource, signal, sys
from pathlib import Path
from storage.objects.folder import FolderStore
from storage.objects.objects import ObjectStoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = FolderStore(Path(sys.argv[1]))
store.put("small", bytes(1000))
try:
    store.put("videos/a", bytes(1001))
except ObjectStoreError as error:
    print(error)
writer = store.put_parts("videos/a")
try:
    writer.write(bytes(1001))
except ObjectStoreError:
    try:
        writer.commit()  # of a part: it must not become an object
    except ValueError as error:
        print(error)
"""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


def files(store_folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(store_folder)) for path in store_folder.rglob("*") if path.is_file()
    )


def test_a_killed_writer_leaves_only_an_orphan(store: FolderStore, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
    assert list(store.list("")) == []
    with pytest.raises(ObjectMissing):
        store.get("videos/a")
    assert len(files(folder)) == 1
    assert store.abort_unfinished(0) == 1
    assert files(folder) == []


@pytest.mark.parametrize(("durable", "flushed"), [(True, 3), (False, 0)])
def test_a_durable_object_is_flushed(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, durable: bool, flushed: int
) -> None:
    """The file, its new folder and the one above; what is not durable costs no flush."""
    store.put("other", b"")
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    store.put("packs/a", b"bytes", durable=durable)
    assert len(calls) == flushed
    assert store.get("packs/a") == b"bytes"


def test_a_full_disk_is_an_error_and_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    """A limit on file size stands for the disk: the same error path, without a disk to fill."""
    folder = tmp_path / "objects"
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, check=True, text=True
    )
    assert ran.stdout.splitlines() == [
        "cannot write object videos/a: File too large",
        "I/O operation on closed file",
    ]
    assert files(folder) == ["small"]


def test_errors_name_no_path(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "a").write_bytes(b"")
    with pytest.raises(ObjectStoreError) as caught:
        store.put("a/b", b"")  # a name that is a folder and an object
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreError) as caught:
        FolderStore(tmp_path / "file").check()
    assert str(tmp_path) not in str(caught.value)


def test_deleting_leaves_no_empty_folders(store: FolderStore, tmp_path: Path) -> None:
    for key in ("videos/p/a/1/video.mp4", "videos/p/b/1/video.mp4"):
        store.put(key, b"")
    store.delete_prefix("videos/p/a")
    assert not (tmp_path / "objects/videos/p/a").exists()
    store.delete("videos/p/b/1/video.mp4")
    assert os.listdir(tmp_path / "objects") == [".unfinished"]
    store.put("videos/p/a/1/video.mp4", b"")


def test_links_lead_nowhere(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    store.put("a/b", b"1")
    (tmp_path / "objects/a/link").symlink_to(tmp_path / "secret")
    (tmp_path / "objects/up").symlink_to(tmp_path)
    assert [info.key for info in store.list("")] == ["a/b"]
