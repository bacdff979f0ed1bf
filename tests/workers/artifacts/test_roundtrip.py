"""What was captured comes back to the bit, in any order, form and size."""

import threading
from collections.abc import Callable

import pytest
import torch

from schemas.attention import CodecName, Form
from schemas.capture_plan import INPUTS, Needed
from schemas.errors import ArtifactMissing, ArtifactWriteFailed
from storage.objects.objects import ObjectStore
from tests.servers import Seaweed
from tests.workers.artifacts.captures import (
    GRID,
    PROJECT,
    SMALL,
    addresses,
    equal,
    everything,
    fill,
    plan,
    recipe,
    write,
)
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address, MapSource, MemoryMaps

CPU = torch.device("cpu")


def assert_same(source: MapSource, kept: MemoryMaps, order: list[Address]) -> None:
    for address in order:
        for name in [name for at, name in kept.tensors if at == address]:
            assert equal(source.get(address, name), kept.get(address, name)), (address, name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("codec", ["raw", "zstd", "zipnn"])
def test_lossless(store: ArtifactStore, codec: CodecName, dtype: torch.dtype) -> None:
    captured = plan(codec=codec)
    manifest, kept = write(store, captured, dtype=dtype)
    with store.open_reader(manifest, everything(captured), CPU) as reader:
        assert_same(reader, kept, list(addresses(captured)))


@pytest.mark.parametrize("form", ["hidden", "qk"])
@pytest.mark.parametrize("batched", [False, True])
def test_either_order_of_branches(store: ArtifactStore, form: Form, batched: bool) -> None:
    captured = plan(form=form)
    manifest, kept = write(store, captured, batched=batched)
    with store.open_reader(manifest, everything(captured), CPU) as reader:
        assert_same(reader, kept, list(addresses(captured, batched=batched)))
        late = [lane.late for lane in reader._lanes.values()]
        assert late == [0, 0], "read ahead, nothing loaded on the spot"


def test_part_of_it(store: ArtifactStore) -> None:
    captured = plan(layers=tuple(range(8)))
    manifest, kept = write(store, captured)
    needed = Needed(frozenset({1, 6}), frozenset({1, 3}), frozenset({"cond"}))
    order = [Address(step, "cond", layer) for step in (1, 3) for layer in (1, 6)]
    with store.open_reader(manifest, needed, CPU) as reader:
        assert_same(reader, kept, order)
        with pytest.raises(ArtifactMissing):
            reader.get(Address(0, "cond", 1), "hidden")


def test_twice_in_a_step_and_out_of_turn(store: ArtifactStore) -> None:
    """Cond maps go into both branches; a skipped step and a step back are served too."""
    captured = plan(branches=("cond",))
    manifest, kept = write(store, captured)
    order = [address for step in (0, 1) for address in addresses(plan(**_one(step)))] * 2
    order = sorted(order, key=lambda address: address.step)
    order += [Address(3, "cond", 1), Address(0, "cond", 2)]
    with store.open_reader(manifest, everything(captured, passes=2), CPU) as reader:
        assert_same(reader, kept, order)


def _one(step: int) -> dict[str, object]:
    return {"steps": (step,), "branches": ("cond",)}


def test_what_is_gone_past_is_dropped(store: ArtifactStore) -> None:
    """An edit that skips layers does not fill the window with what it skipped."""
    captured = plan(layers=tuple(range(8)))
    manifest, kept = write(store, captured)
    order = [address for address in addresses(captured) if address.layer % 3 == 0]
    with store.open_reader(manifest, everything(captured), CPU) as reader:
        assert_same(reader, kept, order)
        lane = reader._lanes["cond"]
        assert lane._held_bytes <= SMALL.window_bytes // 2
        left = [plan for item in lane._items[lane._at + 1 :] for plan in item.tensors.values()]
        at_end = [plan.held_bytes for plan in left]
        assert lane._held_bytes == sum(at_end), "all that is left, and nothing of what was"


def test_a_tensor_is_never_handed_out_twice(store: ArtifactStore) -> None:
    """In-place rotary embeddings have corrupted stores before."""
    captured = plan()
    manifest, kept = write(store, captured)
    first = Address(0, "cond", 0)
    with store.open_reader(manifest, everything(captured), CPU) as reader:
        reader.get(first, "hidden").fill_(0)
        assert equal(reader.get(first, "hidden"), kept.get(first, "hidden"))


def test_latents_with_conditions(store: ArtifactStore) -> None:
    captured = plan(form="latents", steps=(0, 1, 2, 3))
    kept = MemoryMaps()
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=captured, grid=GRID) as writer:
        for step in captured.steps:
            for sink in (kept, writer):
                sink.put(Address(step, "cond", INPUTS), "input", torch.full((1, 3, 5), step + 0.5))
                if step == 0:
                    for number, branch in enumerate(captured.branches):
                        mask = torch.arange(7) > number
                        sink.put(Address(0, branch, INPUTS), "condition_b", mask)
        manifest = writer.commit()
    needed = Needed(frozenset({2}), frozenset({1, 2}), frozenset({"cond", "uncond"}))
    assert manifest.covers(needed)
    with store.open_reader(manifest, needed, CPU) as reader:
        for step in (1, 2):
            assert_same(reader, kept, [Address(step, "cond", INPUTS)])
            for branch in captured.branches:
                at = Address(0, branch, INPUTS)
                reader.get(at, "condition_b").fill_(False)
                assert equal(reader.get(at, "condition_b"), kept.get(at, "condition_b"))


def test_views_and_odd_shapes(store: ArtifactStore) -> None:
    captured = plan(layers=(0,), steps=(0,), branches=("cond",))
    odd = torch.randn(7, 5, 3, dtype=torch.float32).transpose(0, 2)  # not contiguous
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=captured, grid=GRID) as writer:
        writer.put(Address(0, "cond", 0), "hidden", odd)
        manifest = writer.commit()
    with store.open_reader(manifest, everything(captured), CPU) as reader:
        assert equal(reader.get(Address(0, "cond", 0), "hidden"), odd.contiguous())


def test_over_s3(open_s3: Callable[[str], ObjectStore], seaweed: Seaweed) -> None:
    store = ArtifactStore(open_s3(seaweed.endpoint_url), SMALL)
    captured = plan()
    _, kept = write(store, captured)
    found = store.find(PROJECT, recipe().key(PROJECT), everything(captured))
    assert found is not None
    with store.open_reader(found, everything(captured), CPU) as reader:
        assert_same(reader, kept, list(addresses(captured)))


def test_packs_are_of_one_step_and_branch_and_near_their_size(store: ArtifactStore) -> None:
    manifest, _ = write(store, plan())
    assert len(manifest.packs) > 8
    for pack in manifest.packs:
        assert len({(frame.step, frame.branch) for frame in pack.frames}) == 1
        assert pack.size <= SMALL.pack_bytes + SMALL.frame_bytes
    assert manifest.stored_bytes < manifest.decoded_bytes == 4 * 2 * 3 * 48 * 64 * 2


def test_an_incomplete_capture_is_not_published(store: ArtifactStore, objects: ObjectStore) -> None:
    writer = store.open_writer(project=PROJECT, recipe=recipe(), plan=plan(), grid=GRID)
    fill(writer, plan(layers=(0, 1)))
    with pytest.raises(ArtifactWriteFailed, match="layer 2"):
        writer.commit()
    assert list(objects.list("")) == []


def test_abort_leaves_nothing(store: ArtifactStore, objects: ObjectStore) -> None:
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=plan(), grid=GRID) as writer:
        fill(writer, plan())
    assert list(objects.list("")) == []
    with pytest.raises(ArtifactWriteFailed):
        writer.put(Address(0, "cond", 0), "hidden", torch.zeros(1, 1, 1))


def test_first_of_many_writers_wins(store: ArtifactStore, objects: ObjectStore) -> None:
    """Twelve captures of one source at once: one artifact, no pack of the others."""
    captured, manifests = plan(), []
    barrier = threading.Barrier(12)

    def capture() -> None:
        with store.open_writer(
            project=PROJECT, recipe=recipe(), plan=captured, grid=GRID
        ) as writer:
            fill(writer, captured)
            barrier.wait()
            manifests.append(writer.commit())

    threads = [threading.Thread(target=capture) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manifests) == 12
    assert len({manifest.packs for manifest in manifests}) == 1
    keys = {info.key for info in objects.list("")}
    first = manifests[0]
    assert keys == {first.key, *(f"{first.folder}/{pack.name}" for pack in first.packs)}


class TestFind:
    def test_covers_layers_steps_and_branches(self, store: ArtifactStore) -> None:
        captured = plan(layers=(0, 2), steps=(1, 2), branches=("cond",))
        write(store, captured)
        key = recipe().key(PROJECT)
        inside = Needed(frozenset({2}), frozenset({1}), frozenset({"cond"}))
        assert store.find(PROJECT, key, everything(captured)) is not None
        assert store.find(PROJECT, key, inside) is not None
        assert store.find(PROJECT, key, inside._replace(layers=frozenset({1}))) is None
        assert store.find(PROJECT, key, inside._replace(steps=frozenset({0}))) is None
        assert store.find(PROJECT, key, inside._replace(branches=frozenset({"uncond"}))) is None

    def test_of_another_project_or_prompt_is_not_found(self, store: ArtifactStore) -> None:
        write(store, plan())
        needed = everything(plan())
        assert store.find("beta", recipe().key("beta"), needed) is None
        assert store.find(PROJECT, recipe(prompt="a dog").key(PROJECT), needed) is None

    def test_prefers_the_cheapest_edit_then_the_fewest_bytes(self, store: ArtifactStore) -> None:
        needed = everything(plan(layers=(0,)))
        for captured in (plan(form="qk"), plan(), plan(layers=(0, 1))):
            write(store, captured)
        found = store.find(PROJECT, recipe().key(PROJECT), needed)
        assert found is not None
        assert (found.form, found.layers) == ("hidden", (0, 1))

    def test_expired_is_not_found(self, store: ArtifactStore) -> None:
        with store.open_writer(
            project=PROJECT, recipe=recipe(), plan=plan(), grid=GRID, expires_at=1
        ) as writer:
            fill(writer, plan())
            writer.commit()
        assert store.find(PROJECT, recipe().key(PROJECT), everything(plan())) is None
