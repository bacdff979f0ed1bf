"""The tokenizer takes any text, and is the same after a round trip through the ordinary loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from training.drawing.captions import caption
from training.drawing.scenes import draw_scenes
from training.text import (
    EOS,
    PAD,
    TRAIN_TOKENS,
    UNK,
    build_text_encoder,
    build_tokenizer,
    encode_tokens,
    tokenise,
)

TOKENIZER = build_tokenizer()


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_becomes_tokens_of_the_vocabulary(text: str) -> None:
    ids = TOKENIZER(text).input_ids
    assert ids[-1] == EOS
    assert all(0 <= token < len(TOKENIZER) for token in ids)


@pytest.mark.parametrize("text", ["A red car is driving on the highway.", "In winter, a dog runs"])
def test_words_of_captions_are_whole_tokens(text: str) -> None:
    pieces = TOKENIZER.tokenize(text)
    assert len([piece for piece in pieces if piece.startswith("▁")]) == len(text.split())
    assert UNK not in TOKENIZER(text).input_ids


def test_unknown_words_fall_back_to_letters_and_unknown_signs_to_unk() -> None:
    assert UNK not in TOKENIZER("purple elephants!").input_ids
    assert UNK in TOKENIZER("象").input_ids


def test_the_saved_tokenizer_loads_through_auto_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("A red car is driving on the highway.", "", "Zebra 象 \n x"):
        assert again(text).input_ids == TOKENIZER(text).input_ids


def test_every_caption_fits_the_training_length() -> None:
    scenes = draw_scenes(range(3000))
    longest = max(len(TOKENIZER(caption(scenes, i)).input_ids) for i in range(len(scenes)))
    assert longest < TRAIN_TOKENS
    ids = tokenise(TOKENIZER, [caption(scenes, 0)])
    assert ids.shape == (1, TRAIN_TOKENS)
    assert ids[0, -1] == PAD


def test_padding_is_encoded_as_zeros() -> None:
    encoder = build_text_encoder(len(TOKENIZER)).eval()
    ids = tokenise(TOKENIZER, ["A car", "A red car is driving"])
    with torch.no_grad():
        states = encode_tokens(encoder, ids)
    assert (states[ids == PAD] == 0).all()
    assert (states[ids != PAD].abs().sum(-1) > 0).all()
