"""The prompt side: a tokenizer of the captions' words and a small UMT5 encoder.

Owns the vocabulary's order and the encoder's shape. Known words are one token; any other text
falls back to letters, and what is not printable ASCII to <unk>, so every prompt is accepted.
"""

from __future__ import annotations

import string

import torch
from torch import Tensor
from transformers import UMT5Config

from training.drawing.captions import vocabulary
from training.stock import Network, T5Tokenizer, Tokenizer, UMT5EncoderModel

TEXT_DIM = 128
PROMPT_TOKENS = 512  # WanPipeline pads every prompt to this many
TRAIN_TOKENS = 32  # enough for every caption; the last of them stands for all the padding
PAD, EOS, UNK = 0, 1, 2

_WORD_SCORE, _LETTER_SCORE = -1.0, -8.0


def pieces() -> list[tuple[str, float]]:
    """The Unigram vocabulary: specials, words (also capitalised), letters, in a fixed order."""
    words = [f"▁{word}" for word in vocabulary()]
    words += [f"▁{word.capitalize()}" for word in vocabulary()]
    letters = [c for c in string.printable if not c.isspace()]
    table = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", _LETTER_SCORE)]
    table += [(word, _WORD_SCORE) for word in words if len(word) > 2]
    table += [("▁a", _WORD_SCORE), ("▁A", _WORD_SCORE)]
    table += [(letter, _LETTER_SCORE) for letter in letters]
    return table


def build_tokenizer() -> Tokenizer:
    """The tokenizer, in the class and format that `AutoTokenizer` loads."""
    return T5Tokenizer(vocab=pieces(), extra_ids=0, model_max_length=PROMPT_TOKENS)


def build_text_encoder(vocab_size: int) -> Network:
    """An untrained two-layer UMT5 encoder; it learns together with the transformer."""
    config = UMT5Config(
        vocab_size=vocab_size,
        d_model=TEXT_DIM,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=64,
        feed_forward_proj="gated-gelu",
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )
    return UMT5EncoderModel(config)


def tokenise(tokenizer: Tokenizer, captions: list[str]) -> Tensor:
    """Token ids for training: captions to (B, TRAIN_TOKENS) int64, the last one always padding."""
    out = tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=TRAIN_TOKENS - 1,
        return_tensors="pt",
    )
    ids: Tensor = out.input_ids
    return torch.nn.functional.pad(ids, (0, 1), value=PAD)


def encode_tokens(encoder: Network, ids: Tensor) -> Tensor:
    """What WanPipeline feeds the transformer: ids (B, L) to (B, L, TEXT_DIM), zeros at padding."""
    mask = ids.ne(PAD)
    states: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return states * mask.unsqueeze(-1).to(states.dtype)
