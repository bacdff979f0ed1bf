"""How much each place looks at a word: the columns of the real attention, in whatever blocks."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.workers.families.cases import CASES, Runs
from workers.families.registry import FAMILIES
from workers.generation import word_attention
from workers.generation.word_attention import share_of, watched_word

OFFERED = (
    "wan", "wan-i2v", "skyreels-v2", "skyreels-v2-i2v", "skyreels-v2-df", "skyreels-v2-df-i2v",
)  # fmt: skip


def test_every_family_that_says_so_is_tried_here() -> None:
    saying = {family.name for family in FAMILIES.values() if family.cross_attention}
    assert saying == set(OFFERED)


def test_it_is_the_softmax_over_all_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    heads, width, words = 3, 8, (1, 4)
    query, key = torch.randn(1, 20, heads * width), torch.randn(1, 7, heads * width)
    monkeypatch.setattr(word_attention, "_BLOCK_BYTES", 4 * heads * 7 * 6)  # six queries
    maps = torch.stack(
        [
            (query[0, :, part] @ key[0, :, part].T / width**0.5).softmax(-1)
            for part in (slice(head * width, (head + 1) * width) for head in range(heads))
        ]
    )
    expected = maps[:, :, list(words)].sum(-1).mean(0)
    assert torch.allclose(share_of(words, query, key, heads), expected, atol=1e-6)


@pytest.mark.parametrize("name", OFFERED)
def test_every_layer_of_a_family_is_seen(name: str, tmp_path: Path) -> None:
    """A picture's tokens are no text: what goes to all of the text is one."""
    case = next(case for case in CASES if case.name == name)
    runs = Runs(case.load(tmp_path), case=case)
    model, generation = runs.model, runs.source.generation
    assert "word" in model.card.region_kinds
    looks: list[Tensor] = []
    with watched_word(model.family, model.hooks.transformers, tuple(range(512)), looks.append):
        runs.latents_of(runs.source)
    calls = generation.num_inference_steps * len(model.family.branches(4.0))
    assert len(looks) == calls * model.card.layers
    grid = model.card.grid.tokens(generation.width, generation.height, generation.num_frames)
    assert all(torch.allclose(look, torch.ones(grid).flatten(), atol=1e-5) for look in looks)
    looks.clear()
    runs.latents_of(runs.source)
    assert not looks


def test_a_family_without_it_says_so(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "hunyuan-video")
    assert case.load(tmp_path).card.region_kinds == ("mask", "boxes", "auto")
