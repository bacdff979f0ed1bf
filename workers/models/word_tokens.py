"""Which tokens of a prompt are a word's: by the tokenizer's offsets into the text that it reads."""

import sys

from schemas.errors import WordUnread
from schemas.films.region import word_places
from workers.families.base import Family, Pipeline
from workers.models.prompts import max_prompt_tokens


def word_tokens(pipeline: Pipeline, family: Family, prompt: str, word: str) -> tuple[int, ...]:
    """The places of ``word``'s tokens, of all times that it stands in ``prompt``, among the text's.

    Raises WordUnread.
    """
    text = _as_read(pipeline, prompt)
    limit = max_prompt_tokens(pipeline, family)
    offsets = pipeline.tokenizer(text, return_offsets_mapping=True)["offset_mapping"][:limit]
    places = word_places(text, word)
    found = tuple(
        number
        for number, (start, end) in enumerate(offsets)
        if any(start < until and end > begin for begin, until in places)
    )
    if not found:
        raise WordUnread(
            f"region.word: {word!r} is not among the first {limit} tokens of the source's prompt, "
            "which are all that the model reads"
        )
    return found


def _as_read(pipeline: Pipeline, prompt: str) -> str:
    """``prompt`` as the pipeline gives it to its tokenizer."""
    clean = getattr(sys.modules[type(pipeline).__module__], "prompt_clean", None)
    return " ".join(prompt.split()) if clean is None else str(clean(prompt))
