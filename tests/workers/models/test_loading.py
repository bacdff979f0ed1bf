"""Loading: what is refused and how clearly; the card; the fingerprint; LoRA by name."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models import attention_dispatch
from peft import LoraConfig

from schemas.attention import Form, Preset
from schemas.errors import InvalidRequest
from schemas.recipes import Recipe
from tests import tiny
from tests.workers.bench import Bench
from workers.model_settings import LoraSettings, ModelSettings
from workers.models.model_card import fingerprint, revision_of
from workers.models.pipelines import ModelLoadError, load_model


@pytest.fixture
def wan_folder(tmp_path: Path) -> Path:
    tiny.wan().save_pretrained(tmp_path / "wan", safe_serialization=True)
    return tmp_path / "wan"


def _load(folder: Path, **settings: Any) -> Any:
    return load_model(ModelSettings(id="tiny", path=str(folder), dtype="float32", **settings))


def _edit_index(folder: Path, **changes: Any) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"model 'tiny': there is no folder .*nowhere"):
        _load(tmp_path / "nowhere")


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no readable model_index\.json"):
        _load(tmp_path)


def test_a_pipeline_that_is_not_served(wan_folder: Path) -> None:
    _edit_index(wan_folder, _class_name="StableDiffusionPipeline")
    with pytest.raises(ModelLoadError, match="'StableDiffusionPipeline' is not served; served are"):
        _load(wan_folder)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("AnyFlowFARPipeline", "it makes a video piece by piece"),
        ("WanAnyFlowPipeline", "it is its authors' code; .* set pipeline: AnyFlowPipeline"),
        ("CosmosVideoToWorldPipeline", "each branch of its guidance is given noise of its own"),
    ],
)
def test_a_known_pipeline_that_is_not_served_says_why(
    wan_folder: Path, name: str, why: str
) -> None:
    _edit_index(wan_folder, _class_name=name)
    with pytest.raises(ModelLoadError, match=f"pipeline '{name}' is not served: {why}"):
        _load(wan_folder)


def test_a_checkpoint_that_cannot_be_served_says_why(tmp_path: Path) -> None:
    from tests.workers.families.builders_pictures import ltx_i2v

    pipeline = ltx_i2v()
    pipeline.vae.register_to_config(timestep_conditioning=True)
    pipeline.vae.config["timestep_conditioning"] = True
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(ModelLoadError, match="set pipeline: LTXConditionPipeline"):
        _load(tmp_path)


@pytest.mark.skipif(find_spec("cosmos_guardrail") is not None, reason="it is installed")
def test_cosmos_without_its_guardrail_says_what_it_needs(tmp_path: Path) -> None:
    from tests.workers.families.builders_cross import cosmos

    pipeline = cosmos()
    pipeline.register_modules(safety_checker=None)
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(ModelLoadError, match="`cosmos_guardrail` is not installed"):
        _load(tmp_path)


def test_a_file_that_was_not_changed_is_read_once(
    wan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's gigabytes are not hashed again when the model comes back after an eviction."""
    first = revision_of(wan_folder)
    hashed: list[str] = []
    stock = hashlib.file_digest

    def watched(file: Any, kind: Any) -> Any:
        hashed.append(file.name)
        return stock(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    assert revision_of(wan_folder) == first
    assert hashed == []
    (wan_folder / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    assert revision_of(wan_folder) != first
    assert [Path(name).name for name in hashed] == ["chat_template.jinja"]


@pytest.mark.parametrize("library", ["evil_package", "pipeline", "os"])
def test_code_from_elsewhere_is_refused(wan_folder: Path, library: str) -> None:
    """Neither a package of anyone's nor a Python file in the folder is imported."""
    (wan_folder / "pipeline.py").write_text("raise SystemExit('ran')")
    _edit_index(wan_folder, vae=[library, "AutoencoderKLWan"])
    with pytest.raises(ModelLoadError, match=f"component 'vae' comes from '{library}'"):
        _load(wan_folder)


def test_weights_that_are_no_safetensors_are_refused(wan_folder: Path) -> None:
    weights = wan_folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelLoadError, match="does not load"):
        _load(wan_folder)


def test_damaged_weights_are_refused(wan_folder: Path) -> None:
    weights = wan_folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelLoadError, match="does not load"):
        _load(wan_folder)


def test_fused_projections_only_where_they_are_used(tmp_path: Path) -> None:
    from tests.workers.families.builders_cross import allegro

    allegro().save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(ModelLoadError, match="allegro has no fused projections"):
        _load(tmp_path, fuse_projections=True)


def test_the_folder_says_its_own_defaults_and_settings_win(wan_folder: Path) -> None:
    said = {"width": 64, "height": 48, "fps": 12, "presets": {"restyle": {"layers": [1]}}}
    (wan_folder / "retake.json").write_text(json.dumps(said))
    card = _load(wan_folder).card
    assert (card.default_size, card.fps.default, card.licence) == ("64x48", 12, "apache-2.0")
    assert card.presets == {"restyle": Preset(layers=(1,))}
    whole: dict[str, Any] = {"object": {"steps": 0.5}}
    card = _load(wan_folder, defaults={"width": 96, "licence": "mit", "presets": whole}).card
    assert card.presets == {"object": Preset(steps=0.5)}
    assert (card.default_size, card.fps.default, card.licence) == ("96x48", 12, "mit")
    assert card.grid.vae_stride == (4, 8, 8)
    assert card.width_range.step == 16


def test_a_model_s_backend_is_its_own(wan_folder: Path) -> None:
    registry: Any = attention_dispatch._AttentionBackendRegistry  # untyped
    before = registry.get_active_backend()
    _load(wan_folder, attention_backend="_native_math")
    assert registry.get_active_backend() == before


def test_the_fingerprint_follows_what_changes_numbers(wan_folder: Path) -> None:
    first = _load(wan_folder).card
    assert _load(wan_folder).card.fingerprint == first.fingerprint
    assert _load(wan_folder, defaults={"fps": 3}).card.fingerprint == first.fingerprint
    others = [
        load_model(ModelSettings(id="tiny", path=str(wan_folder), dtype="bfloat16")).card,
        _load(wan_folder, fuse_projections=True).card,
        _load(wan_folder, attention_backend="_native_math").card,
    ]
    scheduler = wan_folder / "scheduler" / "scheduler_config.json"
    values = json.loads(scheduler.read_text())
    scheduler.write_text(json.dumps(values | {"flow_shift": 5.0}))
    others.append(_load(wan_folder).card)
    scheduler.write_text(json.dumps(values))
    weights = wan_folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    others.append(_load(wan_folder).card)
    assert len({card.fingerprint for card in [first, *others]}) == 6


CHANGES: dict[str, Any] = {
    "dtype": "bfloat16",
    "attention_backend": "_native_math",
    "quantization": "fp8",
    "fuse_projections": True,
    "compile": "eager",
    "vae_tiling": True,
    "ranks": 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_setting_that_changes_numbers_is_in_the_fingerprint(name: str) -> None:
    def of(**settings: Any) -> str:
        values = {"id": "tiny", "path": "a/model", "dtype": "float32", **settings}
        return fingerprint(pipeline, ModelSettings(**values), "a revision")

    pipeline = tiny.wan()
    assert of(**{name: CHANGES[name]}) != of()
    assert of(path="elsewhere", replay_rows=2, offload="group", device="cpu") == of()


@pytest.fixture
def with_lora(wan_folder: Path, tmp_path: Path) -> Bench:
    """A model that knows one LoRA, on queries, keys and values of self-attention."""
    pipeline = tiny.wan()
    pipeline.transformer.add_adapter(
        LoraConfig(r=2, target_modules=["attn1.to_q", "attn1.to_k", "attn1.to_v"])
    )
    torch.manual_seed(1)
    state = {
        name.replace(".default", ""): torch.randn_like(weight)
        for name, weight in pipeline.transformer.state_dict().items()
        if "lora_" in name
    }
    type(pipeline).save_lora_weights(tmp_path / "lora", transformer_lora_layers=state)
    loras = {"sketch": LoraSettings(path=str(tmp_path / "lora"))}
    model = load_model(
        ModelSettings(
            id="tiny",
            path=str(wan_folder),
            dtype="float32",
            loras=loras,
            defaults=tiny.DEFAULTS,
        )
    )
    return Bench(model)


@pytest.mark.parametrize("form", ["hidden", "qk"])
def test_lora_by_name(with_lora: Bench, bench: Bench, form: Form) -> None:
    """Unnamed it changes nothing; named it does; own maps give a run with it back."""
    assert with_lora.model.card.loras == ("sketch",)
    plain = with_lora.recipe("a car")
    assert torch.equal(with_lora.latents_of(plain), bench.latents_of(bench.recipe("a car")))
    worn = with_lora.recipe("a car", loras=(("sketch", 0.8),))
    latents = with_lora.latents_of(worn)
    assert not torch.equal(latents, with_lora.latents_of(plain))
    maps, captured = with_lora.captured(worn, form)
    assert torch.equal(captured, latents)
    again = with_lora.edit(worn, "a car")
    assert torch.equal(with_lora.latents_of(again, transfer_from=maps, form=form), latents)
    assert worn.key("p") != plain.key("p")


def test_an_unknown_lora_is_refused(with_lora: Bench) -> None:
    recipe: Recipe = with_lora.recipe("a car", loras=(("paint", 1.0),))
    with pytest.raises(InvalidRequest, match="loras: 'paint' is not known; known is sketch"):
        with_lora.latents_of(recipe)


def test_a_folder_loaded_as_another_pipeline(tmp_path: Path) -> None:
    """Wan 2.2 TI2V-5B: its folder names the one that starts from text."""
    named = tiny.parts.WanPipeline(**tiny.wan().components, expand_timesteps=True)
    named.save_pretrained(tmp_path, safe_serialization=True)
    plain = _load(tmp_path, defaults=tiny.DEFAULTS)
    other = _load(tmp_path, defaults=tiny.DEFAULTS, pipeline="WanImageToVideoPipeline")
    assert plain.card.inputs == ("text",)
    assert other.card.required_inputs == ("text", "image")
    assert other.card.fingerprint != plain.card.fingerprint
    one, two = (
        Bench(other).recipe(picture=tiny.give_picture(other, tiny.painting(32, 32, seed)))
        for seed in (0, 1)
    )
    assert not torch.equal(Bench(other).latents_of(one), Bench(other).latents_of(two))
    with pytest.raises(ModelLoadError, match="pipeline 'FluxPipeline' is not served"):
        _load(tmp_path, pipeline="FluxPipeline")
