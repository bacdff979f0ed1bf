"""A transformer in one file: under the names of Wan's own code, ComfyUI's, and in GGUF."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import save_file

from tests import tiny
from tests.workers.bench import Bench
from tests.workers.families import builders_joint
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, ModelLoadError, load_model

# diffusers' names to those of Wan's own code
NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "attn1": "self_attn",
    "attn2": "cross_attn",
    ".to_out.0.": ".o.",
    ".to_q.": ".q.",
    ".to_k.": ".k.",
    ".to_v.": ".v.",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "proj_out": "head.head",
    "norm2": "norm__3",
    "norm3": "norm2",
    "norm__3": "norm3",
}


@pytest.fixture
def wan(tmp_path: Path) -> Path:
    tiny.wan().save_pretrained(tmp_path / "wan", safe_serialization=True)
    return tmp_path / "wan"


def original(seed: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """Another transformer's weights, by the names of Wan's own code."""
    torch.manual_seed(seed)
    state = {}
    for key, value in tiny.wan_transformer().state_dict().items():
        name = key
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if name.endswith("scale_shift_table"):
            top = name == "scale_shift_table"
            name = "head.modulation" if top else name.replace("scale_shift_table", "modulation")
        state[prefix + name] = value.contiguous()
    return state


def load(folder: Path, **settings: Any) -> LoadedModel:
    values = {"dtype": "float32", "defaults": tiny.DEFAULTS, **settings}
    return load_model(ModelSettings(id="tiny", path=str(folder), **values))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_a_file_takes_the_place_of_the_folders(
    wan: Path, tmp_path: Path, prefix: str, dtype: torch.dtype
) -> None:
    state = {key: value.to(dtype) for key, value in original(5, prefix).items()}
    save_file(state, tmp_path / "t.safetensors")
    model = load(wan, transformer_file=str(tmp_path / "t.safetensors"))
    torch.manual_seed(5)
    expected = tiny.wan_transformer().state_dict()
    for key, value in model.pipeline.transformer.state_dict().items():
        assert torch.equal(value, expected[key].to(dtype).float()), key
    bench = Bench(model)
    maps, latents = bench.captured(bench.recipe(), "hidden")
    own = bench.edit(bench.recipe(), "a car")
    assert torch.equal(bench.latents_of(own, transfer_from=maps), latents)


def test_its_content_is_in_the_fingerprint(wan: Path, tmp_path: Path) -> None:
    found = {load(wan).card.fingerprint}
    for seed in (5, 6):
        save_file(original(seed), tmp_path / "t.safetensors")
        found.add(load(wan, transformer_file=str(tmp_path / "t.safetensors")).card.fingerprint)
    assert len(found) == 3


def test_what_is_not_read_is_refused_with_the_reason(wan: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"

    def refused(says: str, folder: Path = wan, **more: str) -> None:
        with pytest.raises(ModelLoadError, match=says):
            load(folder, **({"transformer_file": str(path)} | more))

    refused("there is no file")
    state = original(5)
    save_file(state | {"blocks.0.self_attn.q.scale_weight": torch.ones(1)}, path)
    refused(r"scaled fp8 \(blocks\.0\.self_attn\.q\.scale_weight\)")
    save_file({key: value for key, value in state.items() if "blocks.2." not in key}, path)
    refused("is no WanTransformer3DModel, or not all of one")
    save_file(state, path)
    refused("the model has no transformer_2", transformer_2_file=str(path))
    path.write_bytes(b"not a safetensors file")
    refused("is damaged")
    refused("allowed are .safetensors and .gguf", transformer_file=__file__)


def test_a_class_that_is_read_from_no_file(tmp_path: Path) -> None:
    builders_joint.cogvideox().save_pretrained(tmp_path / "cog", safe_serialization=True)
    save_file({"x": torch.ones(1)}, tmp_path / "t.safetensors")
    with pytest.raises(ModelLoadError, match="reads no CogVideoXTransformer3DModel from one file"):
        load(tmp_path / "cog", transformer_file=str(tmp_path / "t.safetensors"))


def test_gguf_says_what_it_needs(
    wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.models.transformer_files.find_spec", lambda name: None)
    path = tmp_path / "t.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError, match="needs the package gguf"):
        load(wan, transformer_file=str(path))


def test_a_gguf_file_makes_the_videos_of_what_it_holds(wan: Path, tmp_path: Path) -> None:
    """Weights whose rows are whole blocks of 32 are in 8 bits, which diffusers makes float16."""
    path = tmp_path / "wan.gguf"
    writer, held = gguf.GGUFWriter(path, "wan"), {}
    for name, value in original(1).items():
        kind = gguf.GGMLQuantizationType.F32
        if value.ndim == 2 and value.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
        data = gguf.quants.quantize(value.float().numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        unpacked = torch.from_numpy(gguf.quants.dequantize(data, kind)).reshape(value.shape)
        held[name] = unpacked.half().float() if kind.name == "Q8_0" else unpacked
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(held, tmp_path / "held.safetensors")
    as_gguf = Bench(load(wan, transformer_file=str(path)))
    plain = Bench(load(wan, transformer_file=str(tmp_path / "held.safetensors")))
    source = as_gguf.recipe()
    maps, made = as_gguf.captured(source, "hidden")
    torch.testing.assert_close(made, plain.latents_of(plain.recipe()), rtol=1e-3, atol=1e-3)
    own = as_gguf.edit(source, source.generation.prompt)
    assert torch.equal(as_gguf.latents_of(own, transfer_from=maps), made)
