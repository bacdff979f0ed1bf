"""LoRAs: content in the fingerprint, both experts reached, and nothing that matches nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import tiny
from tests.workers.bench import Bench
from tests.workers.families import builders_wan
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, ModelLoadError, load_model

RANK, WIDTH = 2, 24
TARGETS = [f"blocks.{block}.attn1.{name}" for block in range(3) for name in ("to_q", "to_v")]


def lora(seed: int, targets: list[str] = TARGETS) -> dict[str, torch.Tensor]:
    """A LoRA in diffusers' own naming."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for target in targets:
        state[f"transformer.{target}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=draw)
        state[f"transformer.{target}.lora_B.weight"] = torch.randn(WIDTH, RANK, generator=draw)
    return state


@pytest.fixture
def wan(tmp_path: Path) -> Path:
    tiny.wan().save_pretrained(tmp_path / "wan", safe_serialization=True)
    return tmp_path / "wan"


@pytest.fixture
def a14b(tmp_path: Path) -> Path:
    builders_wan.wan_a14b().save_pretrained(tmp_path / "a14b", safe_serialization=True)
    return tmp_path / "a14b"


def load(folder: Path, **loras: Any) -> LoadedModel:
    settings = {"id": "tiny", "path": str(folder), "dtype": "float32", "defaults": tiny.DEFAULTS}
    return load_model(ModelSettings(**settings, loras=loras))


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file(state, path)
    return path


def test_the_fingerprint_follows_the_content_and_not_the_place(wan: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "here" / "x.safetensors", lora(1))
    first = load(wan, x={"path": str(path.parent)}).card.fingerprint
    moved = tmp_path / "there.safetensors"
    shutil.copy(path, moved)
    assert load(wan, x={"path": str(moved)}).card.fingerprint == first
    save(path, lora(2))
    assert load(wan, x={"path": str(path)}).card.fingerprint != first
    assert load(wan, x={"path": str(moved), "scale": 0.5}).card.fingerprint != first


def test_one_file_reaches_both_experts(a14b: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", lora(1))
    one = Bench(load(a14b, x={"path": str(path)}))
    pipeline = one.model.pipeline
    worn = one.latents_of(one.recipe(loras=(("x", 1.0),)))
    other = save(tmp_path / "y.safetensors", lora(2))
    two = Bench(load(a14b, x={"path": str(path), "low_noise": {"path": str(other)}}))
    assert set(pipeline.get_list_adapters()) == {"transformer", "transformer_2"}
    split = two.latents_of(two.recipe(loras=(("x", 1.0),)))
    assert torch.equal(split[0], worn[0]), "the first expert has the same file"
    assert not torch.equal(split[-1], worn[-1])


def test_each_expert_has_a_scale_of_its_own(a14b: Path, tmp_path: Path) -> None:
    path = str(save(tmp_path / "x.safetensors", lora(1)))
    off = Bench(load(a14b, x={"path": path, "scale": 0.0, "low_noise": {"path": path}}))
    plain = off.latents_of(off.recipe())
    worn = off.latents_of(off.recipe(loras=(("x", 1.0),)))
    assert torch.allclose(worn[0], plain[0])
    assert not torch.allclose(worn[-1], plain[-1], atol=1e-3)


def test_keys_that_match_nothing_fail_at_load(wan: Path, tmp_path: Path) -> None:
    mixed = lora(1, [*TARGETS, "blocks.7.attn1.to_q"])
    path = save(tmp_path / "mixed.safetensors", mixed)
    with pytest.raises(ModelLoadError, match=r"2 of 14 keys of 'x'.*blocks\.7\.attn1"):
        load(wan, x={"path": str(path)})
    other = {key.replace("transformer.", "unet."): value for key, value in lora(1).items()}
    path = save(tmp_path / "other.safetensors", other)
    with pytest.raises(ModelLoadError, match="12 of 12 keys"):
        load(wan, x={"path": str(path)})


def test_a_folder_of_two_files_needs_a_name(wan: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "both" / f"{name}.safetensors", lora(1))
    with pytest.raises(ModelLoadError, match=r"2 safetensors files \(a.*b.*weight_name chooses"):
        load(wan, x={"path": str(tmp_path / "both")})
    load(wan, x={"path": str(tmp_path / "both"), "weight_name": "b.safetensors"})


# The names of trainers and of other programs, of the same matrices.

NAMES = {"attn1": "self_attn", "attn2": "cross_attn", "to_q": "q", "to_k": "k", "to_v": "v"}
ATTENTION = [f"{attn}.{part}" for attn in ("attn1", "attn2") for part in ("to_q", "to_k", "to_v")]
EVERY = [
    f"blocks.{block}.{part}"
    for block in range(3)
    for part in (*ATTENTION, "attn1.to_out.0", "attn2.to_out.0", "ffn.net.0.proj", "ffn.net.2")
]
INPUTS, OUTPUTS = {"net.2": 32}, {"net.0.proj": 32}  # of the feed-forward layers


def original(target: str) -> str:
    """A module's name in Wan's own code."""
    name = target.replace("to_out.0", "o").replace("net.0.proj", "0").replace("net.2", "2")
    return ".".join(NAMES.get(part, part) for part in name.split("."))


def matrices(target: str) -> tuple[torch.Tensor, torch.Tensor]:
    kind = target.split("ffn.")[-1]
    draw = torch.Generator().manual_seed(sum(map(ord, target)))
    a = torch.randn(RANK, INPUTS.get(kind, WIDTH), generator=draw)
    b = torch.randn(OUTPUTS.get(kind, WIDTH), RANK, generator=draw)
    return a, b / 4


def named(naming: str, alpha: float | None, *, biases: bool = False) -> dict[str, torch.Tensor]:
    """Every matrix of a LoRA, as ``naming`` would write it."""
    state = {}
    for target in EVERY:
        down, up = (
            ("lora_down", "lora_up") if naming in ("musubi", "comfyui") else ("lora_A", "lora_B")
        )
        stem = {
            "diffusers": f"transformer.{target}",
            "musubi": f"lora_unet_{original(target).replace('.', '_')}",
        }.get(naming, f"diffusion_model.{original(target)}")
        state[f"{stem}.{down}.weight"], state[f"{stem}.{up}.weight"] = matrices(target)
        if alpha is not None:
            state[f"{stem}.alpha"] = torch.tensor(alpha)
        if biases:
            state[f"{stem}.diff_b"] = torch.full(
                (OUTPUTS.get(target.split("ffn.")[-1], WIDTH),), 0.3
            )
    return state


def film(folder: Path, path: Path, scale: float = 1.0) -> torch.Tensor:
    bench = Bench(load(folder, x={"path": str(path)}))
    return bench.latents_of(bench.recipe(loras=(("x", scale),)))


@pytest.mark.parametrize(
    ("naming", "alpha"),
    [
        ("diffusion-pipe", None),
        ("comfyui", None),
        ("comfyui", 1.0),
        ("musubi", None),
        ("musubi", 1.0),
    ],
)
def test_trainers_names(wan: Path, tmp_path: Path, naming: str, alpha: float | None) -> None:
    """The same video as of diffusers' own names; alpha 1 of rank 2 halves it."""
    own = save(tmp_path / "own.safetensors", named("diffusers", None))
    path = save(tmp_path / f"{naming}.safetensors", named(naming, alpha))
    expected = film(wan, own, scale=1.0 if alpha is None else alpha / RANK)
    assert torch.allclose(film(wan, path), expected, atol=1e-4)
    assert not torch.allclose(film(wan, own, scale=0.0), expected, atol=1e-2)


def test_biases_count(wan: Path, tmp_path: Path) -> None:
    with_biases = save(tmp_path / "b.safetensors", named("comfyui", None, biases=True))
    without = save(tmp_path / "own.safetensors", named("comfyui", None))
    assert not torch.allclose(film(wan, with_biases), film(wan, without), atol=1e-2)


def test_a_part_of_a_musubi_lora_is_that_part(wan: Path, tmp_path: Path) -> None:
    state = {key: value for key, value in named("musubi", None).items() if "ffn" not in key}
    part = film(wan, save(tmp_path / "part.safetensors", state))
    own = {key: value for key, value in named("diffusers", None).items() if "ffn" not in key}
    assert torch.allclose(part, film(wan, save(tmp_path / "own.safetensors", own)), atol=1e-4)


def test_a_damaged_file_is_refused_by_name(wan: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ModelLoadError, match=r"loras: 'x' \(x.safetensors\) is not read"):
        load(wan, x={"path": str(tmp_path / "x.safetensors")})
