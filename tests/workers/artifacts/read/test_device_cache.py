"""Tensors that stay on the device between edits: within a limit, whole, and nobody else's."""

import threading
from pathlib import Path

import pytest
import torch

from schemas.artifacts import Manifest
from schemas.attention import Form
from schemas.capture_plan import INPUTS, Needed
from schemas.errors import ArtifactCorrupt
from storage.objects.folder import FolderStore
from tests.workers.artifacts.captures import (
    GRID,
    PROJECT,
    SMALL,
    TOKENS,
    WIDTH,
    addresses,
    equal,
    everything,
    plan,
    recipe,
    write,
)
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address, MemoryMaps

CPU = torch.device("cpu")
PLAN = plan()
TENSOR = TOKENS * WIDTH * 2
SOURCE = TENSOR * len(list(addresses(PLAN)))  # bytes of one artifact, decoded


class Counted(FolderStore):
    """Counts the ranges that are read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads = 0

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        self.reads += 1
        super().read_into(key, offset, buffer)


@pytest.fixture
def below(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def open_store(below: Counted, limit_bytes: int) -> ArtifactStore:
    settings: ArtifactSettings = SMALL.model_copy(update={"device_cache_bytes": limit_bytes})
    return ArtifactStore(below, settings)


def edit(store: ArtifactStore, manifest: Manifest, kept: MemoryMaps, needed: Needed) -> int:
    """Read all that is needed, compare it with what was captured; hits of the tier."""
    hits = store._tensors.hits
    with store.open_reader(manifest, needed, CPU) as reader:
        for address, name in kept.tensors:
            if (
                address.layer in needed.layers
                and address.step in needed.steps
                and address.branch in needed.branches
            ):
                assert equal(reader.get(address, name), kept.get(address, name))
    assert store._tensors.held_bytes <= store._tensors.limit_bytes
    return store._tensors.hits - hits


@pytest.mark.parametrize("form", ["hidden", "qk"])
def test_the_second_edit_of_a_source_reads_nothing(below: Counted, form: Form) -> None:
    captured = plan(form=form)
    store = open_store(below, 2 * SOURCE)
    manifest, kept = write(store, captured)
    assert edit(store, manifest, kept, everything(captured)) == 0
    assert below.reads > 0
    below.reads = 0
    assert edit(store, manifest, kept, everything(captured)) == len(kept.tensors)
    assert below.reads == 0
    assert store._tensors.held_bytes == kept.size_bytes


def test_of_a_larger_source_every_edit_hits_the_part_that_fits(below: Counted) -> None:
    """The fault of plain LRU: what is dropped for a tensor is what is asked for next."""
    store = open_store(below, SOURCE // 2)
    manifest, kept = write(store, PLAN)
    hits = [edit(store, manifest, kept, everything(PLAN)) for _ in range(3)]
    assert hits == [0, len(kept.tensors) // 2, len(kept.tensors) // 2]


def test_the_source_not_used_for_longest_makes_room(below: Counted) -> None:
    store = open_store(below, 2 * SOURCE)
    first, second, third = (write(store, PLAN, recipe=recipe(seed=seed)) for seed in range(3))
    for source in (first, second, first, third):
        edit(store, *source, everything(PLAN))
    whole = len(first[1].tensors)
    assert edit(store, *third, everything(PLAN)) == whole
    assert edit(store, *first, everything(PLAN)) == whole
    assert edit(store, *second, everything(PLAN)) == 0


def test_what_an_edit_leaves_out_makes_room_for_what_it_asks_for(below: Counted) -> None:
    store = open_store(below, SOURCE // 3)
    manifest, kept = write(store, PLAN)
    one, other = (everything(plan(layers=(layer,))) for layer in (0, 1))
    for needed in (one, other):
        assert edit(store, manifest, kept, needed) == 0
        assert edit(store, manifest, kept, needed) == len(kept.tensors) // 3


def test_off_unless_asked_for(below: Counted) -> None:
    store = ArtifactStore(below, SMALL)
    manifest, kept = write(store, PLAN)
    for _ in range(2):
        assert edit(store, manifest, kept, everything(PLAN)) == 0
    assert store._tensors.held_bytes == 0


def test_what_is_handed_out_may_be_written_to(below: Counted) -> None:
    store = open_store(below, SOURCE)
    manifest, kept = write(store, PLAN)
    for _ in range(3):
        with store.open_reader(manifest, everything(PLAN), CPU) as reader:
            for address in addresses(PLAN):
                tensor = reader.get(address, "hidden")
                assert equal(tensor, kept.get(address, "hidden"))
                tensor.fill_(0)


def test_conditions_are_kept_too(below: Counted) -> None:
    captured = plan(form="latents")
    store = open_store(below, SOURCE)
    kept = MemoryMaps()
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=captured, grid=GRID) as writer:
        for sink in (kept, writer):
            for step in captured.steps:
                sink.put(Address(step, "cond", INPUTS), "input", torch.full((1, 3, 5), step + 0.5))
            for number, branch in enumerate(captured.branches):
                sink.put(Address(0, branch, INPUTS), "condition_b", torch.arange(7) > number)
        manifest = writer.commit()
    for hits in (0, len(kept.tensors)):
        before = store._tensors.hits
        with store.open_reader(manifest, everything(captured), CPU) as reader:
            for address, name in kept.tensors:
                assert equal(reader.get(address, name), kept.get(address, name))
        assert store._tensors.hits - before == hits


def test_of_a_damaged_artifact_nothing_is_kept(below: Counted) -> None:
    """Its first part was whole, and is dropped with the rest; another's stays."""
    store = open_store(below, 2 * SOURCE)
    manifest, kept = write(store, PLAN)
    other, others = write(store, PLAN, recipe=recipe(seed=2))
    edit(store, other, others, everything(PLAN))
    key = f"{manifest.folder}/{manifest.packs[-1].name}"
    data = bytearray(below.get(key))
    data[len(data) // 2] ^= 1
    below.put(key, data)
    with pytest.raises(ArtifactCorrupt):
        edit(store, manifest, kept, everything(PLAN))
    assert store._tensors.held_bytes == others.size_bytes
    assert edit(store, other, others, everything(PLAN)) == len(others.tensors)


def test_what_goes_out_while_an_edit_runs_is_read_again(below: Counted) -> None:
    store = open_store(below, SOURCE)
    manifest, kept = write(store, PLAN)
    edit(store, manifest, kept, everything(PLAN))
    with store.open_reader(manifest, everything(PLAN), CPU) as reader:
        for place, address in enumerate(addresses(PLAN)):
            if place == 5:
                assert store.free_device()
                assert store._tensors.held_bytes == 0
            assert equal(reader.get(address, "hidden"), kept.get(address, "hidden"))
    assert store._tensors.held_bytes == SOURCE - 5 * TENSOR, "and kept from there on"


def test_edits_at_once(below: Counted) -> None:
    """Two sources, room for less than both, and whoever empties the tier in between."""
    store = open_store(below, SOURCE + SOURCE // 2)
    sources = [write(store, PLAN, recipe=recipe(seed=seed)) for seed in range(2)]
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for turn in range(6):
                edit(store, *sources[(number + turn) % 2], everything(PLAN))
                if number == 0 and turn == 3:
                    store.free_device()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    held = [entry.tensor.nbytes for entry in store._tensors._held.values()]
    assert sum(held) == store._tensors.held_bytes > 0
