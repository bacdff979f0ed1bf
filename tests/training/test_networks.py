"""The shortcuts that training takes give what the stock modules give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.cache import LatentCache
from training.clock import Clock
from training.muon import orthogonalise
from training.padding import restore_text, shorten_text
from training.text import TEXT_DIM, TRAIN_TOKENS, build_text_encoder
from training.transformer import Training, build_transformer, sample_sigmas, train_transformer
from training.vae import build_vae, decode_latents, encode_moments


def test_encoding_all_frames_at_once_equals_the_stock_encode_and_decode() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    films = torch.rand(1, 3, 17, 32, 32) * 2 - 1
    with torch.no_grad():
        mean, _ = encode_moments(vae, films)
        assert torch.allclose(mean, vae.encode(films).latent_dist.mode(), atol=1e-5)
        ours = decode_latents(vae, mean).clamp(-1, 1)
        assert torch.allclose(ours, vae.decode(mean).sample, atol=1e-4)
    assert mean.shape == (1, 24, 5, 4, 4)


def test_one_weighted_padding_token_equals_512_tokens() -> None:
    torch.manual_seed(0)
    model = build_transformer(layers=2).eval()
    torch.nn.init.normal_(model.proj_out.weight, std=0.05)
    x, t = torch.randn(2, 24, 2, 4, 4), torch.tensor([300.0, 900.0])
    text = torch.zeros(2, 512, TEXT_DIM)
    text[:, :9] = torch.randn(2, 9, TEXT_DIM)
    with torch.no_grad():
        whole = model(x, t, text).sample
        shorten_text(model)
        short = model(x, t, text[:, :TRAIN_TOKENS]).sample
        restore_text(model)
        unweighted = model(x, t, text[:, :TRAIN_TOKENS]).sample
    assert torch.allclose(whole, short, atol=1e-5)
    assert not torch.allclose(whole, unweighted, atol=1e-3)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 32, 64), (2, 64, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(*shape)).float())
        assert values.min() > 0.4
        assert values.max() < 1.4


def test_noise_levels_lean_to_the_noisy_side() -> None:
    torch.manual_seed(0)
    sigmas = sample_sigmas(4000, torch.device("cpu"))
    assert sigmas.min() >= 0
    assert sigmas.max() <= 1
    assert 0.58 < sigmas.mean() < 0.7


def test_the_learning_rate_warms_up_and_cools_down() -> None:
    clock = Clock(steps=100)
    first = clock.rate(1.0, warmup=10)
    clock.step = 30
    middle = clock.rate(1.0, warmup=10)
    clock.step = 99
    last = clock.rate(1.0, warmup=10)
    assert first < middle
    assert middle == 1.0
    assert last < 0.05
    clock.step = 100
    assert clock.done


@pytest.mark.slow
def test_an_interrupted_training_goes_on_where_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cache = LatentCache(torch.randn(4, 24, 5, 8, 12), torch.ones(4, TRAIN_TOKENS, dtype=torch.long))
    vocabulary = 4

    def fresh() -> Training:
        return Training(build_transformer(1), build_text_encoder(vocabulary), cache, batch=2)

    first, clock = fresh(), Clock(steps=10)
    train_transformer(first, Clock(steps=2), seed=0)
    clock.step = 2
    first.save(tmp_path / "kept.safetensors", clock)
    second, again = fresh(), Clock(steps=10)
    assert not all(torch.equal(a, b) for a, b in zip(first.live, second.live, strict=True))
    second.load(tmp_path / "kept.safetensors", again)
    assert again.step == 2
    assert second.average.count == 2
    for ours, theirs in ((first.live, second.live), (first.average.kept, second.average.kept)):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.isfinite(first.loss)
