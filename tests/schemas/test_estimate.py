"""The arithmetic of sizes and costs, at the numbers of Wan2.1-1.3B (arXiv 2504.10317)."""

from typing import Any

import pytest

from schemas.attention import Anchor, CaptureSpec, CodecName, Form, TransferSpec
from schemas.errors import InvalidRequest
from schemas.estimate import Estimate, FormEstimate, estimate
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe

ANY = IntRange(minimum=1, maximum=10_000, default=50)
WAN = ModelCard(
    id="wan2.1-1.3b",
    family="wan",
    fingerprint="f",
    revision="r",
    dtype="bfloat16",
    licence="apache-2.0",
    default_size="832x480",
    width_range=ANY,
    height_range=ANY,
    max_pixels=10**6,
    num_frames=ANY,
    num_inference_steps=ANY,
    fps=ANY,
    guidance_scale=5.0,
    layers=30,
    heads=12,
    width=1536,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
    latent_channels=16,
)


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": WAN.id,
        "fingerprint": "f",
        "prompt": "a car",
        "negative_prompt": "",
        "seed": 1,
        "width": 832,
        "height": 480,
        "num_frames": 81,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "fps": 16,
    }
    return Recipe(generation=Generation(**values | changes))


def forms(found: Estimate) -> dict[Form, FormEstimate]:
    return {each.form: each for each in found.forms}


@pytest.mark.parametrize(("codec", "limit"), [("zipnn", 0.0028), ("int8", 0.0019)])
def test_wan_at_480p(codec: CodecName, limit: float) -> None:
    found = estimate(CaptureSpec(codec=codec, scope="everything"), TransferSpec(), WAN, recipe())
    assert found.tokens == 32_760
    each = forms(found)
    assert each["dense"].bytes == pytest.approx(77.3e12, rel=0.001)
    assert each["qk"].bytes == pytest.approx(604e9, rel=0.002)  # outputs among them
    assert each["hidden"].bytes == pytest.approx(302e9, rel=0.002)
    assert each["hidden"].share_of_dense <= limit
    assert each["latents"].share_of_dense <= 1e-5
    assert not each["dense"].available


def test_costs_of_an_edit() -> None:
    everything = CaptureSpec(scope="everything")
    found = estimate(everything, TransferSpec(layers=(3,)), WAN, recipe())
    each = forms(found)
    assert each["hidden"].edit_cost == each["qk"].edit_cost == 1.0
    assert each["latents"].edit_cost == pytest.approx(1 + 4 / 30)
    assert each["hidden"].edit_read_bytes * 30 == pytest.approx(
        each["hidden"].stored_bytes, rel=2e-3
    )
    assert found.replay_cost == 2.0
    half = TransferSpec(layers=(3,), steps=tuple(range(25)), branches=("cond",))
    found = estimate(everything, half, WAN, recipe())
    assert forms(found)["latents"].edit_cost == pytest.approx(1 + 4 / 30 / 4)


def test_an_anchored_edit_costs_a_tenth_and_needs_a_tenth() -> None:
    anchored = TransferSpec(anchor=Anchor(interval=5))
    found = estimate(CaptureSpec(), anchored, WAN, recipe())
    assert (found.steps, found.branches) == (tuple(range(0, 50, 5)), ("cond",))
    each = forms(found)
    outputs = 2 * 50 * 32_760 * 64 * 2
    assert each["hidden"].bytes == 30 * 10 * 32_760 * 1536 * 2 + outputs  # 30 GB, of 302
    assert each["hidden"].edit_cost == each["qk"].edit_cost == pytest.approx(0.1)
    assert each["latents"].edit_cost == pytest.approx(0.2)
    assert found.replay_cost == pytest.approx(1.1)
    few = TransferSpec(anchor=Anchor(interval=5), layers=(2, 3, 6))
    assert forms(estimate(CaptureSpec(), few, WAN, recipe()))["latents"].edit_cost == pytest.approx(
        0.1 * (1 + 7 / 30)
    )
    unguided = recipe(guidance_scale=1.0)
    assert forms(estimate(CaptureSpec(), anchored, WAN, unguided))["hidden"].edit_cost == 0.2


def test_an_edit_of_an_edit_replays_both_and_cannot_be_kept_as_latents() -> None:
    edit = recipe(prompt="a red car").model_copy(
        update={"source": recipe(), "transfer": TransferSpec()}
    )
    found = estimate(CaptureSpec(), TransferSpec(), WAN, edit)
    assert found.replay_cost == 3.0
    assert not forms(found)["latents"].available


@pytest.mark.parametrize(
    ("budget", "form"),
    [(10**12, "hidden"), (303 * 10**9, "hidden"), (10**11, "latents"), (10**9, "latents")],
)
def test_a_budget_chooses_the_form(budget: int, form: Form) -> None:
    spec = CaptureSpec(form=None, max_bytes=budget, scope="everything")
    assert estimate(spec, TransferSpec(), WAN, recipe()).chosen == form


def test_what_latents_leave_of_a_budget_saves_the_dearest_reruns() -> None:
    budget = CaptureSpec(form=None, max_bytes=40 * 10**9, scope="everything")
    found = estimate(budget, TransferSpec(), WAN, recipe())
    assert (found.chosen, found.hidden_layers) == ("latents", (27, 28, 29))
    assert 30 * 10**9 < found.chosen_bytes <= 40 * 10**9
    assert found.chosen_edit_cost == pytest.approx(1 + 27 / 30)
    latents = budget.model_copy(update={"form": "latents"})
    late = estimate(latents, TransferSpec(layers=(28,)), WAN, recipe())
    assert late.hidden_layers == (27, 28, 29)
    assert late.chosen_edit_cost == 1.0


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"capture\.max_bytes: 1000 is too small"):
        estimate(CaptureSpec(form=None, max_bytes=1000), TransferSpec(), WAN, recipe())
    with pytest.raises(InvalidRequest, match=r"transfer\.layers: 30"):
        estimate(CaptureSpec(), TransferSpec(layers=(30,)), WAN, recipe())


def test_a_region_costs_between_its_first_step_and_all_of_them() -> None:
    card = WAN.model_copy(update={"supports_region": True})
    anchored = {"interval": 5, "region": {}}
    transfer = TransferSpec.model_validate({"layers": (3, 6), "anchor": anchored})
    capture = CaptureSpec(form="hidden", scope="regions")
    found = estimate(capture, transfer, card, recipe())
    assert found.chosen_least_edit_cost == pytest.approx(0.01)
    assert found.chosen_edit_cost == pytest.approx(0.10)
    of_all = TransferSpec(anchor=Anchor(interval=5))
    read = forms(found)["hidden"].edit_read_bytes
    assert read == forms(estimate(capture, of_all, card, recipe()))["hidden"].edit_read_bytes
    plain = estimate(capture, of_all, card, recipe())
    assert plain.chosen_least_edit_cost == plain.chosen_edit_cost == 0.10
