"""What a model reads of a prompt: its tokenizer cuts it behind so many tokens, without a word."""

from typing import NamedTuple

from workers.families.base import Family, Pipeline


class ReadPrompt(NamedTuple):
    """``tokens``: those that the text encoder sees. Equal ones make the same video."""

    tokens: tuple[int, ...]
    truncated: bool


def max_prompt_tokens(pipeline: Pipeline, family: Family) -> int | None:
    """How many tokens of a prompt the model reads; None: not known."""
    tokenizer = getattr(pipeline, "tokenizer", None)
    limit = family.prompt_limit(pipeline)
    if tokenizer is None or limit is None:
        return None
    # a template brings its own, and is cut out again
    special = 0 if family.templated else tokenizer.num_special_tokens_to_add()
    return limit - int(special)


def read_prompt(pipeline: Pipeline, family: Family, prompt: str) -> ReadPrompt:
    """``prompt`` as the first text encoder of ``pipeline`` is given it."""
    limit = max_prompt_tokens(pipeline, family)
    text = " ".join(prompt.split())
    if family.lowercases:
        text = text.lower()
    if limit is None:
        return ReadPrompt(tuple(text.encode()), truncated=False)
    tokens = tuple(pipeline.tokenizer(text, add_special_tokens=False).input_ids)
    return ReadPrompt(tokens[:limit], truncated=len(tokens) > limit)
