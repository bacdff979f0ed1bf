"""What every family must do, each on its real pipeline class, end to end through the engine."""

from pathlib import Path

import pytest
import torch

from schemas.attention import CaptureSpec, Form
from schemas.capture_plan import INPUTS
from schemas.errors import InvalidRequest, SourceMismatch, Unsupported
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_transfer
from storage.objects.folder import FolderStore
from tests.tiny import give_picture, painting
from tests.workers.bench import generate, same_to_rounding
from tests.workers.families.cases import CASES, Case, Runs
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture
from workers.families.registry import FAMILIES

FORMS: tuple[Form, ...] = ("hidden", "qk", "latents")
TOLERANCE = 1e-3  # of what the edit changes: fp32 through other kernels, two steps


def test_every_family_is_here() -> None:
    assert {type(case.build()).__name__ for case in CASES} == set(FAMILIES)


def test_frames_come_out(runs: Runs, case: Case) -> None:
    frames = generate(runs.model, runs.source)
    assert frames.shape == (case.frames, case.size, case.size, 3)
    assert frames.dtype == "uint8"
    assert torch.isfinite(runs.plain("a car")).all()


@pytest.mark.parametrize("form", FORMS)
def test_own_maps_give_the_run_back(transfers: Runs, form: Form) -> None:
    plain = transfers.plain("a car")
    maps, captured = transfers.captured(transfers.source, form)
    transfers.kept[f"maps {form}"] = maps
    assert torch.equal(captured, plain)
    own = transfers.edit(transfers.source, "a car")
    assert torch.equal(transfers.latents_of(own, transfer_from=maps, form=form), plain)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5])
def test_without_guidance(transfers: Runs, guidance_scale: float) -> None:
    """Own maps are exact, and a replay copies from the right rows."""
    source = transfers.recipe("a car", guidance_scale=guidance_scale)
    maps, captured = transfers.captured(source, "hidden")
    own = transfers.edit(source, "a car")
    assert torch.equal(transfers.latents_of(own, transfer_from=maps), captured)
    edit = transfers.edit(source, "some dog")
    stored = transfers.latents_of(edit, transfer_from=maps)
    plain = transfers.latents_of(transfers.recipe("some dog", guidance_scale=guidance_scale))
    replayed = transfers.latents_of(edit)[-len(stored) :]
    # without guidance some of these barely hear their text: no threshold for the effect
    error, effect = ((each - stored).square().mean().sqrt() for each in (replayed, plain))
    assert 0 <= error < 0.01 * effect


@pytest.mark.parametrize("form", FORMS)
def test_anothers_maps_change_the_output(transfers: Runs, form: Form) -> None:
    """And all forms are the same map, bit for bit."""
    edit = transfers.edited(form)
    assert (edit - transfers.plain("some dog")).abs().max() > 1e-2
    assert torch.equal(edit, transfers.edited("hidden"))


def test_hidden_is_the_dense_softmax_map(transfers: Runs, case: Case) -> None:
    """The fused kernels against softmax(Q Kᵀ/√d) V written out, on the transferred Q and K.

    Where text is in no map, stored dense maps must give the same edit too.
    """
    edit = transfers.edit(transfers.source, "some dog")
    plan = resolve_capture(
        CaptureSpec(form="dense", scope="everything"), transfers.model.card, edit
    )
    maps = transfers.maps("hidden")
    written_out = transfers.latents_of(
        edit, transfer_from=maps, capture=Capture(plan, MemoryMaps())
    )
    plain = transfers.plain("some dog")
    assert same_to_rounding(written_out, transfers.edited(), plain, TOLERANCE)
    if not case.joint:
        assert same_to_rounding(transfers.edited("dense"), transfers.edited(), plain, TOLERANCE)


def test_selection_touches_only_what_it_names(transfers: Runs) -> None:
    plain, whole = transfers.plain("some dog"), transfers.edited()
    last_step = transfers.edited(steps=(1,))
    assert torch.equal(last_step[0], plain[0])
    assert not torch.equal(last_step[1], plain[1])
    last = transfers.model.card.layers - 1
    one_layer = transfers.edited(layers=(last,))
    assert not torch.equal(one_layer, whole)
    assert not torch.equal(one_layer, plain)
    kept, _ = transfers.captured(
        transfers.source, "hidden", layers=(last,), steps=(1,), branches=("cond",)
    )
    assert [at for at, _ in kept.tensors if at.layer != INPUTS] == [(1, "cond", last)]
    if len(transfers.model.card.branches) > 1:
        cond = transfers.edited(branches=("cond",))
        assert not torch.equal(cond, whole)
        assert not torch.equal(cond, plain)


def test_heads_and_strength(transfers: Runs) -> None:
    plain, whole = transfers.plain("some dog"), transfers.edited()
    assert torch.equal(transfers.edited(strength=0.0), plain)
    assert same_to_rounding(transfers.edited(strength=1 - 1e-6), whole, plain, TOLERANCE)
    one_head = transfers.edited(heads=(0,))
    assert not torch.equal(one_head, whole)
    assert not torch.equal(one_head, plain)


def test_replay_equals_stored_maps(transfers: Runs) -> None:
    replayed = transfers.latents_of(transfers.edit(transfers.source, "some dog"))[-2:]
    assert same_to_rounding(replayed, transfers.edited(), transfers.plain("some dog"), TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_save_load_and_edit_from_the_store(transfers: Runs, form: Form, tmp_path: Path) -> None:
    settings = ArtifactSettings(pool_bytes=1 << 26, pack_bytes=1 << 20, frame_bytes=1 << 20)
    store = ArtifactStore(FolderStore(tmp_path), settings)
    card, source = transfers.model.card, transfers.source
    plan = resolve_capture(CaptureSpec(form=form, scope="everything"), card, source)
    grid = card.grid.tokens(
        source.generation.width, source.generation.height, source.generation.num_frames
    )
    writer = store.open_writer(project="test", recipe=source, plan=plan, grid=grid)
    transfers.latents_of(source, capture=Capture(plan, writer))
    writer.commit()
    edit = transfers.edit(source, "some dog")
    assert edit.transfer is not None
    needed = resolve_transfer(edit.transfer, card, edit.generation).needed()
    manifest = store.find("test", source.key("test"), needed)
    assert manifest is not None
    with store.open_reader(manifest, needed, torch.device("cpu")) as reader:
        edited = transfers.latents_of(edit, transfer_from=reader, form=form)
    assert torch.equal(edited, transfers.edited())


@pytest.mark.parametrize(("field", "factor"), [("width", 2), ("num_frames", 3), ("steps", 2)])
def test_another_shot_is_refused(transfers: Runs, field: str, factor: int) -> None:
    name = "num_inference_steps" if field == "steps" else field
    edit = transfers.edit(transfers.source, "some dog")
    value = getattr(edit.generation, name) * factor
    other = edit.generation.model_copy(update={name: value})
    with pytest.raises(SourceMismatch, match=name):
        generate(
            transfers.model,
            edit.model_copy(update={"generation": other}),
            transfer_from=transfers.maps("hidden"),
        )


def test_another_picture_makes_another_video(runs: Runs, case: Case) -> None:
    """And keeps the attention that it is given: another first frame in the same motion."""
    generation = runs.source.generation
    if generation.picture is None:
        pytest.skip("it starts from text alone")
    image = painting(generation.width, generation.height, seed=1)
    picture = {"picture": give_picture(runs.model, image)}
    other = runs.latents_of(runs.recipe("a car", **picture))
    assert not torch.equal(other, runs.plain("a car"))
    if "transfer" in case.without:
        return
    edit = runs.edit(runs.source, "a car")
    edit = edit.model_copy(update={"generation": generation.model_copy(update=picture)})
    edited = runs.latents_of(edit, transfer_from=runs.maps("hidden"))
    assert not torch.equal(edited, other)
    assert not torch.equal(edited, runs.plain("a car"))


def test_bad_sizes_are_refused_with_the_nearest(runs: Runs) -> None:
    card = runs.model.card
    for allowed in (card.width_range, card.height_range, card.num_frames):
        for wrong in (allowed.default + 1, allowed.maximum + 100):
            with pytest.raises(InvalidRequest, match=r"nearest is \d+$") as refused:
                allowed.check(wrong, "size")
            nearest = int(refused.value.message.rsplit(" ", 1)[1])
            assert allowed.check(nearest, "size") == nearest


def test_refusals_are_clear(runs: Runs, case: Case) -> None:
    if "transfer" not in case.without:
        pytest.skip("it has maps to transfer")
    edit = runs.edit(runs.source, "some dog")
    with pytest.raises(Unsupported, match="no softmax attention map"):
        generate(runs.model, edit)
    with pytest.raises(Unsupported, match="no softmax attention map"):
        resolve_capture(CaptureSpec(scope="everything"), runs.model.card, runs.source)
