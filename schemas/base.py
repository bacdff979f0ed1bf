"""The one base model: frozen values that refuse what they do not know."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """An immutable value; an unknown field is an error, never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


Text = Annotated[str, Field(min_length=1, max_length=4096)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


def canonical_hash(value: Any) -> str:
    """SHA-256, hex, of ``value`` as canonical JSON (sorted keys, no spaces, ASCII, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
