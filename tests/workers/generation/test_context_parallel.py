"""Two processes over gloo against one: the same bytes in float32, and never a wait for ever."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.attention import Form
from schemas.errors import ArtifactCorrupt, JobCancelled
from storage.settings import StorageSettings
from tests import tiny
from tests.workers.bench import Bench
from tests.workers.generation import parts
from tests.workers.generation.processes import Party, party
from workers.attention.maps import MemoryMaps
from workers.model_settings import ModelSettings
from workers.models.pipelines import load_model
from workers.models.rank_group import Stopped
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

UNEVEN = {"width": 48, "height": 48, "num_frames": 9}  # 27 tokens: 14 and 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> Iterator[Party]:
    with party(str(folder)) as two:
        yield two


@pytest.fixture(scope="module")
def one(folder: Path) -> Bench:
    """The same model in this process alone."""
    torch.set_num_threads(1)
    return Bench(load_model(settings_of(folder)))


def settings_of(folder: Path, **more: Any) -> ModelSettings:
    values = {"id": "tiny", "path": str(folder), "dtype": "float32", "defaults": tiny.DEFAULTS}
    return ModelSettings(**(values | more))


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("changes", [{}, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_a_run_and_its_capture_are_those_of_one_process(
    two: Party, one: Bench, form: Form, changes: dict[str, Any]
) -> None:
    (latents, captured), (none, _) = two.run(parts.capture, form, changes)
    alone, expected = one.captured(one.recipe(**changes), form)
    assert same(latents, expected)
    assert captured.keys() == alone.tensors.keys()
    assert all(same(captured[key], alone.tensors[key]) for key in captured)
    assert len(none) == 0, "only rank 0 hears of steps"


@pytest.mark.parametrize("changes", [{}, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_own_maps_give_the_run_back(two: Party, form: Form, changes: dict[str, Any]) -> None:
    (latents, _), _ = two.run(parts.capture, form, changes)
    again, _ = two.run(parts.edit, "a car", form, changes, {})
    assert same(again, latents)


@pytest.mark.parametrize(
    "transfer",
    [{}, {"strength": 0.5}, {"heads": [1], "layers": [0, 2]}, {"source_branch": "cond"}],
    ids=str,
)
@pytest.mark.parametrize("form", ["hidden", "qk", "latents", None])
def test_an_edit_is_that_of_one_process(
    two: Party, one: Bench, form: Form | None, transfer: dict[str, Any]
) -> None:
    source = one.recipe()
    maps: MemoryMaps | None = None
    if form is not None:
        two.run(parts.capture, form, {})
        maps, _ = one.captured(source, form)
    expected = one.latents_of(
        one.edit(source, "a dog", **transfer), transfer_from=maps, form=form or "hidden"
    )
    edited, _ = two.run(parts.edit, "a dog", form, {}, transfer)
    assert same(edited, expected)
    assert not same(edited, one.latents_of(one.recipe("a dog"))), "the transfer changes nothing"


def test_a_cancelled_run_ends_on_all_ranks_and_the_next_one_runs(two: Party, one: Bench) -> None:
    ends = two.run(parts.cancelled, 1)
    assert [type(end) for end in ends] == [JobCancelled, Stopped]
    assert same(two.run(parts.capture, "hidden", {})[0][0], one.latents_of(one.recipe()))


@pytest.mark.parametrize("source", [parts.Damaged, parts.Short])
def test_an_unreadable_source_ends_the_edit_on_all_ranks(
    two: Party, one: Bench, source: type[Any]
) -> None:
    two.run(parts.capture, "hidden", {})
    ends = two.run(parts.edit_from, source)
    assert [type(end) for end in ends] == [ArtifactCorrupt, Stopped]
    assert same(two.run(parts.capture, "hidden", {})[0][0], one.latents_of(one.recipe()))


@pytest.mark.parametrize(
    "settings",
    [{"dtype": "bfloat16"}, {"quantization": "fp8"}, {"fuse_projections": True}],
    ids=str,
)
def test_own_maps_give_the_run_back_in_other_modes(folder: Path, settings: dict[str, Any]) -> None:
    with party(str(folder), **settings) as two:
        (latents, _), _ = two.run(parts.capture, "hidden", UNEVEN)
        again, _ = two.run(parts.edit, "a car", "hidden", UNEVEN, {})
        other, _ = two.run(parts.edit, "a dog", "hidden", UNEVEN, {})
    assert same(again, latents)
    assert not same(other, latents)


def test_a_bad_folder_on_every_rank_leaves_the_other_models(two: Party, folder: Path) -> None:
    """The other ranks hold those alone that are spread: here, none."""
    models = settings_of(folder / "nowhere", ranks=2), settings_of(folder, id="plain")
    storage = StorageSettings(redis_url="redis://127.0.0.1:1", object_url="file:///nowhere")
    settings = WorkerSettings(storage=storage, models=models, threads=1)
    assert two.run(parts.served, settings) == [["plain"], []]


@pytest.mark.parametrize("tokens", [2, 7, 27, 480])
def test_shares_are_torch_s(two: Party, tokens: int) -> None:
    shares, lengths = two.run(parts.own_shares, tokens)[0]
    assert [share.stop - share.start for share in shares] == lengths
    assert (shares[0].start, shares[-1].stop) == (0, tokens)


def test_a_rank_that_fails_ends_the_others_wait_and_says_why(folder: Path) -> None:
    with party(str(folder), timeout_s=600) as two:  # no time-out helps
        two.send(parts.broken)
        assert two.result(0) == "why"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_rank_that_is_gone_ends_the_others_wait(folder: Path, number: signal.Signals) -> None:
    with party(str(folder), timeout_s=5.0) as two:
        os.kill(two.ranks[1].pid, number)
        two.send(parts.cancelled, 99)
        assert isinstance(two.result(0), RuntimeError)
