"""Host memory, disk, object store: each within its limit, the least recently used out first."""

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.objects.objects import ObjectStore
from workers.artifacts.cost_model import CostModel
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.read.plan import Block
from workers.artifacts.read.tiers import DiskBlocks, HostBlocks, ObjectBlocks

BLOCKS = [Block("packs/a", 10 * place, 10) for place in range(4)]


class Counted:
    """Stands where the object store does, and counts what is asked of it."""

    def __init__(self, objects: ObjectStore) -> None:
        objects.put("packs/a", bytes(range(40)))
        self.reads: list[Block] = []
        self.forgotten: list[Block] = []
        self._blocks = ObjectBlocks(objects, HostBufferCache(0), CostModel())

    def read(self, block: Block) -> memoryview:
        self.reads.append(block)
        return self._blocks.read(block)

    def forget(self, block: Block) -> None:
        self.forgotten.append(block)


@pytest.fixture
def below(objects: ObjectStore) -> Counted:
    return Counted(objects)


@pytest.fixture(params=["host", "disk"])
def tier(request: pytest.FixtureRequest, below: Counted, tmp_path: Path) -> HostBlocks | DiskBlocks:
    """With room for two blocks."""
    return HostBlocks(below, 25) if request.param == "host" else DiskBlocks(below, tmp_path, 25)


def test_keeps_what_was_used_last(tier: HostBlocks | DiskBlocks, below: Counted) -> None:
    for place in (0, 1, 0, 2, 0, 1):
        assert bytes(tier.read(BLOCKS[place])) == bytes(range(10 * place, 10 * place + 10))
    assert below.reads == [BLOCKS[place] for place in (0, 1, 2, 1)]
    assert (tier.hits, tier.misses) == (2, 4)
    assert tier.held_bytes == 20


def test_forgets_in_every_tier(tier: HostBlocks | DiskBlocks, below: Counted) -> None:
    tier.read(BLOCKS[0])
    tier.forget(BLOCKS[0])
    assert tier.held_bytes == 0
    tier.read(BLOCKS[0])
    assert below.reads == [BLOCKS[0], BLOCKS[0]]
    assert below.forgotten == [BLOCKS[0]]


def test_a_block_larger_than_the_tier_passes_through(
    tier: HostBlocks | DiskBlocks, below: Counted
) -> None:
    assert len(tier.read(Block("packs/a", 0, 40))) == 40
    assert tier.held_bytes == 0


def test_the_disk_outlives_its_process(below: Counted, tmp_path: Path) -> None:
    DiskBlocks(below, tmp_path, 25).read(BLOCKS[0])
    (tmp_path / "left.tmp").write_bytes(b"half a write")
    again = DiskBlocks(below, tmp_path, 25)
    assert bytes(again.read(BLOCKS[0])) == bytes(range(10))
    assert len(below.reads) == 1
    assert not (tmp_path / "left.tmp").exists()


def cut_short(path: Path) -> None:
    path.write_bytes(b"short")


@pytest.mark.parametrize("damage", [cut_short, Path.unlink])
def test_a_file_that_is_damaged_or_gone_is_read_from_below(
    below: Counted, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    tier = DiskBlocks(below, tmp_path / "cache", 25)
    tier.read(BLOCKS[0])
    (path,) = (tmp_path / "cache").iterdir()
    damage(path)
    assert bytes(tier.read(BLOCKS[0])) == bytes(range(10))
    assert len(below.reads) == 2
