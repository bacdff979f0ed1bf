"""Own maps and an edit again under compiled blocks, fused projections, and group offload."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from schemas.attention import Form
from tests.workers.bench import same_to_rounding
from tests.workers.families.cases import CASES, Case, Runs
from workers.attention.maps import MemoryMaps

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3


def _own_maps_are_exact(runs: Runs, form: Form) -> MemoryMaps:
    maps, captured = runs.captured(runs.source, form)
    plain = runs.latents_of(runs.source)
    assert torch.equal(captured, plain)
    own = runs.edit(runs.source, "a car")
    assert torch.equal(runs.latents_of(own, transfer_from=maps, form=form), plain)
    return maps


def _same_edit(runs: Runs, case: Case, folder: Path, **settings: Any) -> Runs:
    """The model loaded in another mode: own maps exact, the edit the same to rounding."""
    other = Runs(case.load(folder, **settings), case=case)
    maps = _own_maps_are_exact(other, "hidden")
    edit = other.latents_of(other.edit(other.source, "some dog"), transfer_from=maps)
    assert same_to_rounding(edit, runs.edited(), runs.plain("some dog"), TOLERANCE)
    return other


def test_compiled(transfers: Runs, case: Case, tmp_path: Path) -> None:
    """The hooks in the graphs that all layers share: none of a layer's own, and none broken."""
    if "compiled" in case.without:
        pytest.skip(case.without["compiled"])
    torch._dynamo.reset()
    counters.clear()
    other = _same_edit(transfers, case, tmp_path, compile="eager")
    assert counters["frames"]["ok"] > 0, "nothing was compiled"
    assert other.model.card.fingerprint != transfers.model.card.fingerprint
    if "one graph" not in case.without:
        kinds = len(other.model.family.attention)
        assert not counters["graph_break"]
        assert counters["stats"]["unique_graphs"] <= 4 * kinds


def test_another_attention_backend(transfers: Runs, case: Case, tmp_path: Path) -> None:
    """Numbers of its own, so a fingerprint of its own; exact within itself."""
    if case.name not in ("wan", "hunyuan-video", "ltx"):
        pytest.skip("run on families whose processors choose a backend, one of each layout")
    other = _same_edit(transfers, case, tmp_path, attention_backend="_native_math")
    assert other.model.card.fingerprint != transfers.model.card.fingerprint
    processors: list[Any] = [attn.module.processor for attn in other.model.hooks.attention_modules]
    assert {each._attention_backend.value for each in processors} == {"_native_math"}


def test_compiled_mixing(tmp_path: Path) -> None:
    """Queries and keys mixed behind the norms, in compiled code too."""
    case = next(case for case in CASES if case.name == "wan")
    plain, compiled = (
        Runs(case.load(tmp_path, compile=mode), case=case) for mode in ("none", "eager")
    )
    mixed = compiled.edited(strength=0.5)
    assert same_to_rounding(mixed, plain.edited(strength=0.5), plain.plain("some dog"), TOLERANCE)


@pytest.mark.parametrize("setting", [{"compile": "eager"}, {"offload": "group"}])
def test_a_rerun_in_lockstep(tmp_path: Path, setting: dict[str, Any]) -> None:
    """Two forwards through the same blocks, in turn, on two threads."""
    case = next(case for case in CASES if case.name == "wan")
    runs = Runs(case.load(tmp_path, **setting), case=case)
    _own_maps_are_exact(runs, "latents")
    assert torch.equal(runs.edited("latents"), runs.edited("hidden"))


def test_fused(transfers: Runs, case: Case, tmp_path: Path) -> None:
    if not transfers.model.family.supports_fused_qkv:
        pytest.skip("diffusers has no fused projections for it, or does not compute with them")
    other = _same_edit(transfers, case, tmp_path, fuse_projections=True)
    assert all(attn.fused is not None for attn in other.model.hooks.attention_modules)


def test_group_offload(transfers: Runs, case: Case, tmp_path: Path) -> None:
    _same_edit(transfers, case, tmp_path, offload="group")


@pytest.mark.parametrize("form", ["hidden", "latents"])
def test_fp8_weights(transfers: Runs, case: Case, tmp_path: Path, form: Form) -> None:
    """Another model by its numbers, so another fingerprint; exact within itself."""
    if case.name not in ("wan", "hunyuan-video", "cogvideox", "mochi"):
        pytest.skip("run on the paper's four families")
    other = Runs(case.load(tmp_path, quantization="fp8"), case=case)
    assert other.model.card.fingerprint != case.load(tmp_path).card.fingerprint
    assert not torch.equal(other.plain("a car"), transfers.plain("a car"))
    _own_maps_are_exact(other, form)
