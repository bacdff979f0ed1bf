"""The one base model: frozen values that refuse what they do not know."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field


class Frozen(BaseModel):
    """An immutable value; an unknown field is an error, never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class OneError(FailFast):
    """Of a collection in a request: its first bad item is refused, and no other looked at. A body
    of thousands would otherwise have thousands of errors to format, which takes seconds."""

    def __hash__(self) -> int:  # a union's members must have one
        return hash(self.fail_fast)


Text = Annotated[str, Field(min_length=1, max_length=4096)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]

LoraScale = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


def _no_null_character(text: str) -> str:
    if "\0" in text:
        raise ValueError("may not hold the null character U+0000")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold more than spaces")
    return text


# how long it may be is the model's to say; see ``max_prompt_chars`` of its card
AnyText = Annotated[str, AfterValidator(_no_null_character)]
Prompt = Annotated[
    str, Field(min_length=1), AfterValidator(_no_null_character), AfterValidator(_not_blank)
]


def canonical_hash(value: Any) -> str:
    """SHA-256, hex, of ``value`` as canonical JSON (sorted keys, no spaces, ASCII, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
