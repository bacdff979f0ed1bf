"""Linears in 8 bits: what each way needs, and that their attention is kept and put in exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.attention import Form
from tests import tiny
from tests.workers.bench import Bench
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, ModelLoadError, load_model


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "wan"
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    return folder


def load(folder: Path, quantization: str) -> LoadedModel:
    values = {"id": "tiny", "path": str(folder), "dtype": "float32", "quantization": quantization}
    return load_model(ModelSettings.model_validate({**values, "defaults": tiny.DEFAULTS}))


def test_int8_says_what_it_needs(wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.models.quantization.find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match=r"'int8' needs the package torchao: install retake"):
        load(wan_folder, "int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_float8_says_what_it_needs(wan_folder: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"'float8_dynamic' needs a GPU; allowed here is"):
        load(wan_folder, "float8_dynamic")


@pytest.mark.parametrize("quantization", ["int8", "int8_dynamic"])
@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_int8_linears_are_tapped_like_any_other(
    wan_folder: Path, bench: Bench, form: Form, quantization: str
) -> None:
    """Another model by its numbers, so another fingerprint; own maps exact within itself."""
    model = load(wan_folder, quantization)
    (attn, *_) = model.hooks.attention_modules
    linear: Any = attn.to_q
    assert type(linear.weight).__name__ == "Int8Tensor"
    assert model.card.fingerprint != bench.model.card.fingerprint
    int8 = Bench(model)
    maps, latents = int8.captured(int8.recipe(), form)
    assert not torch.equal(latents, bench.latents_of(bench.recipe()))
    own = int8.edit(int8.recipe(), "a car")
    assert torch.equal(int8.latents_of(own, transfer_from=maps, form=form), latents)
