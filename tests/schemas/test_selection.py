"""Presets, budgets and sizes, by arithmetic alone."""

import pytest
from pydantic import ValidationError

from schemas.attention import Anchor, CaptureSpec, Preset, Region, StepRange, TransferSpec
from schemas.errors import InvalidRequest, SourceMismatch, Unsupported
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import form_bytes, forms_of, resolve_capture
from schemas.selection import PRESETS, apply_preset, presets_of, resolve_recipe, resolve_transfer

ANY = IntRange(minimum=1, maximum=10_000, default=16)
WAN_1_3B = ModelCard(
    id="wan", family="wan", fingerprint="f", revision="r", dtype="bfloat16", licence="apache-2.0",
    default_size="832x480", width_range=ANY, height_range=ANY, max_pixels=1 << 30, num_frames=ANY,
    num_inference_steps=ANY, fps=ANY, guidance_scale=5.0, layers=30, heads=12, width=1536,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)), latent_channels=16,
)  # fmt: skip
RUN = Generation(
    model="wan", fingerprint="f", prompt="a", negative_prompt="", seed=0, width=832, height=480,
    num_frames=81, num_inference_steps=50, guidance_scale=5.0, fps=16,
)  # fmt: skip
SOURCE = Recipe(generation=RUN)


def _edit(**transfer: object) -> Recipe:
    return Recipe(generation=RUN, source=SOURCE, transfer=TransferSpec.model_validate(transfer))


@pytest.mark.parametrize(
    ("form", "gigabytes"), [("dense", 77_300), ("qk", 604), ("hidden", 302), ("latents", 0.21)]
)
def test_sizes_are_the_notes_own(form: str, gigabytes: float) -> None:
    """Wan2.1-1.3B, 832x480, 81 frames, 50 steps, two branches, 16 bit."""
    everything = resolve_capture(CaptureSpec(scope="everything"), WAN_1_3B, SOURCE)
    size = form_bytes(form, everything, WAN_1_3B, RUN)  # type: ignore[arg-type]  # parametrised
    assert size / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_budget_chooses_the_form() -> None:
    def chosen(max_bytes: float) -> str:
        spec = CaptureSpec(form=None, max_bytes=int(max_bytes), scope="everything")
        return resolve_capture(spec, WAN_1_3B, SOURCE).form

    assert chosen(400e9) == "hidden"
    assert chosen(100e9) == "latents"
    with pytest.raises(InvalidRequest, match="needed is 62"):
        chosen(1e6)


def test_latents_let_everything_be_recomputed() -> None:
    spec = CaptureSpec(form="latents", layers=(3,), steps=(1,), branches=("cond",))
    plan = resolve_capture(spec, WAN_1_3B, SOURCE)
    whole = resolve_transfer(TransferSpec(), WAN_1_3B, RUN).needed()
    assert plan.covers(whole)
    assert plan.recomputed_layers(whole) == set(range(30))


def test_the_default_keeps_what_edits_with_presets_read() -> None:
    plan = resolve_capture(CaptureSpec(), WAN_1_3B, SOURCE)
    assert (plan.steps, plan.branches, plan.outputs) == (tuple(range(0, 50, 5)), ("cond",), True)
    presets = {name: Preset(layers=(3, 6)) for name in PRESETS if name != "paper"}
    card = WAN_1_3B.model_copy(update={"presets": presets})
    few = resolve_capture(CaptureSpec(), card, SOURCE)
    assert few.layers == (3, 6)
    for name in presets:
        assert few.covers(resolve_transfer(TransferSpec(preset=name), card, RUN).needed())
    assert not few.covers(resolve_transfer(TransferSpec(preset="paper"), card, RUN).needed())
    assert resolve_capture(CaptureSpec(layers=(1,)), card, SOURCE).layers == (1,)


def test_of_an_anchored_edit_only_computed_steps_can_be_kept() -> None:
    edit = _edit(anchor={"interval": 10})
    plan = resolve_capture(CaptureSpec(), WAN_1_3B, edit)
    assert (plan.steps, plan.branches) == ((0, 10, 20, 30, 40), ("cond",))
    with pytest.raises(InvalidRequest, match=r"capture\.steps: .* computed are 0, 10, 20, 30, 40"):
        resolve_capture(CaptureSpec(steps=(3,)), WAN_1_3B, edit)


def test_what_an_edits_attention_fits_into() -> None:
    assert forms_of(WAN_1_3B, SOURCE) == ("hidden", "qk", "latents")
    assert forms_of(WAN_1_3B, _edit()) == ("hidden", "qk")
    assert forms_of(WAN_1_3B, _edit(strength=0.5)) == ("qk",)
    assert forms_of(WAN_1_3B, _edit(heads=[0])) == ("qk",)
    assert forms_of(WAN_1_3B, _edit(heads=list(range(12)))) == ("hidden", "qk")


def test_a_preset_is_written_out_and_what_is_named_wins() -> None:
    half = WAN_1_3B.model_copy(update={"presets": {"restyle": Preset(steps=0.5)}})
    restyle = apply_preset(TransferSpec(preset="restyle"), half, 50)
    assert (restyle.preset, restyle.steps) == (None, StepRange(stop=25))
    assert restyle.anchor == Anchor(interval=5, scale=1.0)
    own = apply_preset(TransferSpec(preset="restyle", steps=(3,), strength=0.5), half, 50)
    assert (own.steps, own.strength) == ((3,), 0.5)
    assert apply_preset(TransferSpec(preset="restyle", anchor=None), half, 50).anchor is None
    assert apply_preset(TransferSpec(preset="paper"), WAN_1_3B, 50) == TransferSpec()
    assert apply_preset(restyle, half, 50) == restyle


@pytest.mark.parametrize(("steps", "interval"), [(50, 5), (20, 5), (10, 2), (4, 1), (1, 1)])
def test_of_few_steps_a_preset_computes_four(steps: int, interval: int) -> None:
    anchor = apply_preset(TransferSpec(preset="auto"), WAN_1_3B, steps).anchor
    assert anchor == Anchor(interval=interval)


def test_a_models_own_preset_takes_the_place_of_the_general_one() -> None:
    layers = (0, 3, 6)
    card = WAN_1_3B.model_copy(update={"presets": {"restyle": Preset(layers=layers)}})
    anchored = TransferSpec(anchor=Anchor(), layers=layers)
    assert apply_preset(TransferSpec(preset="restyle"), card, 50) == anchored
    assert presets_of(card)["recolour"] == presets_of(WAN_1_3B)["recolour"]


def test_a_models_own_preset_names_layers_that_it_has() -> None:
    values = WAN_1_3B.model_dump() | {"presets": {"auto": {"layers": [30]}}}
    with pytest.raises(ValueError, match=r"presets\.auto\.layers: 30 is not one of 0 to 29"):
        ModelCard.model_validate(values)


@pytest.mark.parametrize(
    ("spec", "param", "allowed"),
    [
        ({"layers": [30]}, "transfer.layers", "0 to 29"),
        ({"steps": [50]}, "transfer.steps", "0 to 49"),
        ({"steps": {"start": 10, "stop": 60}}, "transfer.steps", "0 to 49"),
        ({"heads": [12]}, "transfer.heads", "0 to 11"),
        ({"anchor": {"interval": 51}}, "transfer.anchor.interval", "1 to 50"),
        ({"anchor": {"interval": 5}, "steps": [1, 2]}, "transfer.steps", "0, 5, 10"),
        ({"anchor": {}, "branches": ["uncond"]}, "transfer.branches", "cond"),
    ],
)
def test_ranges_are_checked(spec: dict[str, object], param: str, allowed: str) -> None:
    with pytest.raises(InvalidRequest, match=allowed) as refused:
        resolve_transfer(TransferSpec.model_validate(spec), WAN_1_3B, RUN)
    assert refused.value.param == param


def test_a_branch_that_the_run_has_not() -> None:
    unguided = RUN.model_copy(update={"guidance_scale": 1.0})
    with pytest.raises(InvalidRequest, match=r"transfer\.branches: 'uncond' .* allowed is cond"):
        resolve_transfer(TransferSpec(branches=("uncond",)), WAN_1_3B, unguided)


def test_a_ramp_is_linear_over_the_transferred_steps() -> None:
    spec = TransferSpec(steps=(10, 20, 30), strength=1.0, strength_end=0.0)
    resolved = resolve_transfer(spec, WAN_1_3B, RUN)
    assert [resolved.strength_at(step) for step in resolved.steps] == [1.0, 0.5, 0.0]
    assert not resolved.whole


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"guidance_scale": 3.0}, "guidance_scale"),
        ({"guidance_scale_2": 3.0}, "guidance_scale_2"),
        ({"negative_prompt": "grey"}, "negative_prompt"),
    ],
)
def test_an_anchored_edit_has_its_sources_guidance(change: dict[str, object], param: str) -> None:
    edit = _edit(anchor={}).model_copy(update={"generation": RUN.model_copy(update=change)})
    with pytest.raises(SourceMismatch, match="whose guidance an anchored edit follows") as refused:
        resolve_recipe(edit, WAN_1_3B)
    assert refused.value.param == param
    resolve_recipe(edit.model_copy(update={"transfer": TransferSpec()}), WAN_1_3B)


@pytest.mark.parametrize(
    ("interval", "allowed"), [(5, True), (10, True), (4, False), (None, False)]
)
def test_an_edit_of_an_anchored_edit_computes_where_that_did(
    interval: int | None, allowed: bool
) -> None:
    anchor = None if interval is None else {"interval": interval}
    second = TransferSpec.model_validate({"anchor": anchor})
    recipe = Recipe(generation=RUN, source=_edit(anchor={"interval": 5}), transfer=second)
    if allowed:
        resolve_recipe(recipe, WAN_1_3B)
        return
    with pytest.raises(SourceMismatch, match="allowed is a multiple of 5") as refused:
        resolve_recipe(recipe, WAN_1_3B)
    assert refused.value.param == "transfer.anchor.interval"


@pytest.mark.parametrize("anchor", [{"interval": 0}, {"scale": float("nan")}, {"scale": -1}])
def test_bad_anchors_are_refused(anchor: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(anchor))):
        TransferSpec.model_validate({"anchor": anchor})


REGIONAL = WAN_1_3B.model_copy(update={"supports_region": True})
REGION = {"interval": 5, "region": {}}


def test_an_edit_with_a_region_reads_every_layer_of_its_computed_steps() -> None:
    """Also where the maps of few are put in: keys and values of what it leaves out are there."""
    spec = TransferSpec.model_validate({"layers": (3,), "steps": (0, 5), "anchor": REGION})
    resolved = resolve_transfer(spec, REGIONAL, RUN)
    assert (resolved.layers, resolved.steps) == ((3,), (0, 5))
    needed = resolved.needed()
    assert needed.layers == frozenset(range(30))
    assert needed.steps == frozenset(range(0, 50, 5))
    few = {name: Preset(layers=(3, 6)) for name in PRESETS if name != "paper"}
    card = REGIONAL.model_copy(update={"presets": few})
    assert not resolve_capture(CaptureSpec(), card, SOURCE).covers(needed)
    kept = resolve_capture(CaptureSpec(scope="regions"), card, SOURCE)
    assert kept.covers(needed)
    assert kept.branches == ("cond",)
    assert not kept.model_copy(update={"form": "qk"}).covers(needed), "values are of hidden states"


def test_a_region_that_leaves_nothing_out_is_none() -> None:
    whole, plain = (
        resolve_transfer(TransferSpec(anchor=anchor), REGIONAL, RUN)
        for anchor in (Anchor(region=Region(threshold=0)), Anchor())
    )
    assert whole == plain


def test_a_region_is_refused_where_it_is_not_possible() -> None:
    spec = TransferSpec.model_validate({"anchor": REGION})
    says = r"transfer\.anchor\.region: model 'wan' .* families that can leave some out are wan"
    with pytest.raises(Unsupported, match=says) as refused:
        resolve_transfer(spec, WAN_1_3B, RUN)
    assert refused.value.param == "transfer.anchor.region"
    again = Recipe(generation=RUN, source=_edit(anchor={"interval": 5}), transfer=spec)
    with pytest.raises(SourceMismatch, match=r"transfer\.anchor\.region: the source is an edit or"):
        resolve_recipe(again, REGIONAL)


def test_what_an_edit_with_a_region_can_keep() -> None:
    assert forms_of(REGIONAL, _edit(anchor=REGION)) == ("hidden",)
    assert forms_of(REGIONAL, _edit(anchor=REGION, strength=0.5)) == ()
