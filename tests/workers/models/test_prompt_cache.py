"""Prompts that were encoded before are not encoded again, and no video differs for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.workers.bench import Bench
from workers.models.pipelines import LoadedModel
from workers.models.prompt_cache import PromptCache


@contextmanager
def counted(model: LoadedModel) -> Iterator[list[int]]:
    """How many times the text encoder runs within the block: the length of what is yielded."""
    calls: list[int] = []
    hook = model.pipeline.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    with hook:
        yield calls


def test_the_same_prompts_are_encoded_once(bench: Bench) -> None:
    bench.model.prompts.__init__()  # type: ignore[misc]  # empty: the model is the session's
    with counted(bench.model) as calls:
        first = bench.latents_of(bench.recipe("a blue bus"))
        encoded = len(calls)
        again = bench.latents_of(bench.recipe("a blue bus"))
        assert len(calls) == encoded > 0
        other = bench.latents_of(bench.recipe("a green bus"))
        assert len(calls) > encoded
    assert torch.equal(again, first)
    assert not torch.equal(other, first)


class Encoder:
    """``encode_prompt`` as pipelines have it; what it gave may be written to by its caller."""

    def __init__(self) -> None:
        self.calls = 0

    def encode_prompt(self, prompt: Any, **options: Any) -> tuple[torch.Tensor, None]:
        self.calls += 1
        return torch.full((4,), float(len(prompt))), None


def test_what_a_caller_writes_into_is_not_what_is_kept() -> None:
    encoder, cache = Encoder(), PromptCache()
    for _ in range(3):
        with cache.used_by(encoder):
            made, none = encoder.encode_prompt(["a car"], device=torch.device("cpu"))
        assert made.tolist() == [1.0] * 4
        assert none is None
        made.zero_()
    assert encoder.calls == 1
    assert "encode_prompt" not in vars(encoder)


def test_every_argument_tells_prompts_apart() -> None:
    encoder, cache = Encoder(), PromptCache()
    with cache.used_by(encoder):
        encoder.encode_prompt("a", n=1)
        encoder.encode_prompt("a", n=True)
        encoder.encode_prompt("a", n=2)
        encoder.encode_prompt("a", n=torch.ones(1))
        encoder.encode_prompt("a", n=torch.ones(1))  # what holds a tensor is not kept
    with cache.used_by(encoder, loras=(("warm", 1.0),)):
        encoder.encode_prompt("a", n=1)
    assert encoder.calls == 6


def test_the_longest_unused_make_room() -> None:
    encoder, cache = Encoder(), PromptCache(max_bytes=32)  # two of four floats
    with cache.used_by(encoder):
        for prompt in ("a", "b", "a", "c", "a", "b"):
            encoder.encode_prompt(prompt)
    assert encoder.calls == 4, "b was dropped for c"
