"""Dtypes, schedulers, call arguments: the authors', the checkpoint's, the settings'."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.workers.bench import Bench
from tests.workers.families import builders_cross, builders_joint, builders_wan
from tests.workers.families.cases import CASES, Runs
from workers.families.checkpoints import WAN_NEGATIVE, checkpoint_of
from workers.families.registry import FAMILIES
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, ModelLoadError, load_model


@pytest.fixture
def wan(tmp_path: Path) -> Path:
    tiny.wan().save_pretrained(tmp_path / "wan", safe_serialization=True)
    return tmp_path / "wan"


def load(folder: Path, **settings: Any) -> LoadedModel:
    values = {"dtype": "float32", "defaults": tiny.DEFAULTS, **settings}
    return load_model(ModelSettings(id="tiny", path=str(folder), **values))


def test_the_vae_of_wan_stays_in_float32(wan: Path) -> None:
    model = load(wan, dtype="bfloat16")
    pipeline = model.pipeline
    assert pipeline.vae.dtype == torch.float32
    assert pipeline.transformer.dtype == pipeline.text_encoder.dtype == torch.bfloat16
    bench = Bench(model)
    assert bench.latents_of(bench.recipe()).isfinite().all()


def test_settings_win_over_the_authors_and_are_in_the_fingerprint(wan: Path) -> None:
    authors = load(wan, dtype="bfloat16").card.fingerprint
    own = load(wan, dtype="bfloat16", component_dtypes={"vae": "bfloat16"})
    assert own.pipeline.vae.dtype == torch.bfloat16
    text = load(wan, dtype="bfloat16", component_dtypes={"text_encoder": "float32"})
    assert text.pipeline.text_encoder.dtype == torch.float32
    assert len({authors, own.card.fingerprint, text.card.fingerprint}) == 3
    plain = load(wan).card.fingerprint
    assert load(wan, component_dtypes={"vae": "float32"}).card.fingerprint == plain


def test_a_scheduler_of_the_settings(wan: Path) -> None:
    plain, shifted = Bench(load(wan)), Bench(load(wan, scheduler={"flow_shift": 8.0}))
    assert shifted.model.pipeline.scheduler.config.flow_shift == 8.0
    assert shifted.model.card.fingerprint != plain.model.card.fingerprint
    assert not torch.equal(shifted.latents_of(shifted.recipe()), plain.latents_of(plain.recipe()))
    euler = load(wan, scheduler={"class": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    assert type(euler.pipeline.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ({"flow_shfit": 8.0}, r"scheduler\.flow_shfit: UniPCMultistepScheduler does not have it"),
        ({"class": "WanPipeline"}, r"scheduler\.class: 'WanPipeline' is no scheduler"),
        ({"class": "os"}, r"scheduler\.class: 'os' is no scheduler"),
    ],
)
def test_a_scheduler_that_is_none_is_refused(
    wan: Path, scheduler: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelLoadError, match=says):
        load(wan, scheduler=scheduler)


def test_call_arguments_reach_the_pipeline_and_the_fingerprint(tmp_path: Path) -> None:
    builders_wan.wan_a14b().save_pretrained(tmp_path, safe_serialization=True)
    plain, other = Bench(load(tmp_path)), Bench(load(tmp_path, call={"guidance_scale_2": 1.5}))
    assert other.model.card.fingerprint != plain.model.card.fingerprint
    one, two = (bench.latents_of(bench.recipe()) for bench in (plain, other))
    assert torch.equal(one[0], two[0]), "the first expert has the request's scale"
    assert not torch.equal(one[-1], two[-1])
    maps, latents = other.captured(other.recipe(), "hidden")
    own = other.edit(other.recipe(), "a car")
    assert torch.equal(other.latents_of(own, transfer_from=maps), latents)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"guidance_scale": 3.0}, r"call\.guidance_scale: is set by requests"),
        ({"prompt_embeds": []}, r"call\.prompt_embeds: is set by requests"),
        ({"decode_timestep": 0.05}, r"call\.decode_timestep: WanPipeline does not take it"),
    ],
)
def test_call_arguments_that_are_not_free_are_refused(
    wan: Path, call: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelLoadError, match=says):
        load(wan, call=call)


def known(pipeline: Any, path: str = "") -> Any:
    return checkpoint_of(FAMILIES[type(pipeline).__name__], pipeline, path)


def pictured_a14b() -> Any:
    pipeline = builders_wan.wan_i2v_a14b()
    pipeline.register_modules(transformer=tiny.wan_transformer(40, 1))
    return pipeline


def test_checkpoints_are_known_by_their_configuration() -> None:
    pipeline = tiny.wan()
    assert known(pipeline).defaults == {}
    pipeline.register_to_config(expand_timesteps=True)
    found = known(pipeline)
    assert (found.name, found.defaults["height"], found.defaults["fps"]) == (
        "Wan2.2 TI2V-5B", 704, 24,
    )  # fmt: skip
    big = tiny.wan()
    big.register_modules(
        transformer=tiny.wan_transformer(40, 1), transformer_2=tiny.wan_transformer(1, 1)
    )
    assert known(big).call == {"guidance_scale_2": 3.0}
    assert known(big).defaults["guidance_scale"] == 4.0
    assert known(builders_joint.cogvideox15()).defaults["fps"] == 16
    assert known(builders_joint.cogvideox15_i2v()).defaults["fps"] == 16
    assert known(builders_wan.wan_ti2v()).name == "Wan2.2 TI2V-5B"
    assert "guidance_scale_2" not in known(pictured_a14b()).call
    assert known(pictured_a14b()).defaults["guidance_scale"] == 3.5
    assert known(builders_joint.cogvideox()).defaults == {}


def test_checkpoints_are_known_by_their_hub_id() -> None:
    pipeline = builders_cross.kandinsky5()
    distilled = known(pipeline, "kandinskylab/Kandinsky-5.0-T2V-Lite-distilled16steps-5s-Diffusers")
    assert distilled.defaults["num_inference_steps"] == 16
    assert "2D cartoon" in known(pipeline, "kandinskylab/any").defaults["negative_prompt"]


def test_the_models_own_negative_prompt_is_the_default(tmp_path: Path) -> None:
    cosmos = next(case for case in CASES if case.name == "cosmos").load(tmp_path)
    assert cosmos.card.negative_prompt.startswith("The video captures a series of frames")
    assert cosmos.card.defaults_source.startswith("the negative prompt that diffusers")
    pipeline = tiny.wan()
    pipeline.register_modules(transformer=tiny.wan_transformer(30, 1))
    assert tiny.load(pipeline, tmp_path / "wan").card.negative_prompt == WAN_NEGATIVE


@pytest.mark.parametrize("name", ["ltx", "ltx-2"])
def test_a_frame_rate_is_told_to_models_that_take_one(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    runs = Runs(case.load(tmp_path), case=case)
    assert runs.model.card.told_fps
    slow, fast = (runs.recipe("a car", frame_rate=rate, fps=rate) for rate in (8, 30))
    assert not torch.equal(runs.latents_of(slow), runs.latents_of(fast))
    assert slow.key("p") != fast.key("p")


def test_where_it_only_paces_the_frames_it_is_in_no_key(wan: Path) -> None:
    bench = Bench(load(wan))
    assert not bench.model.card.told_fps
    assert bench.recipe(fps=8).key("p") == bench.recipe(fps=30).key("p")
