"""Frozen values, and the hash that every key is made of."""

import pytest
from pydantic import ValidationError

from schemas.base import Frozen, canonical_hash


class Value(Frozen):
    number: int = 0


def test_a_value_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Value().number = 1  # type: ignore[misc]  # the point of the test


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Value.model_validate({"number": 1, "colour": "red"})


def test_the_hash_is_of_what_is_meant_not_of_how_it_is_written() -> None:
    assert canonical_hash({"a": 1, "b": [2, None]}) == canonical_hash({"b": [2, None], "a": 1})
    assert canonical_hash({"a": 1, "b": [2, None]}) == (
        "cc243773f70c3dff1b2058928d222d7edc29130da3f617c0e8ce04096aca153c"
    )
    assert canonical_hash("ä") == canonical_hash("\u00e4")


def test_what_json_has_no_number_for_has_no_hash() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_hash(float("nan"))
