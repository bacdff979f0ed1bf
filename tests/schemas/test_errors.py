"""The error tree: each with a status, a type and a code, whole on the other side of a process."""

import pickle
from collections.abc import Iterator

import pytest

from schemas import errors
from schemas.errors import JobFailed, RateLimited, RetakeError


def tree(root: type[RetakeError] = RetakeError) -> Iterator[type[RetakeError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("kind", [*tree()])
def test_every_error_crosses_processes(kind: type[RetakeError]) -> None:
    error = pickle.loads(pickle.dumps(kind("seed: 1 is not allowed", param="seed", code="own")))
    assert type(error) is kind
    assert (error.message, error.param, error.code) == ("seed: 1 is not allowed", "seed", "own")
    assert str(error) == "seed: 1 is not allowed"


@pytest.mark.parametrize("kind", [*tree()])
def test_the_docstring_draws_the_tree(kind: type[RetakeError]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    (line,) = [line for line in drawing if kind.__name__ in line.split()]
    told = [word for word in line.split() if word.isdigit()]
    if told:
        assert int(told[0]) == kind.status


def test_statuses_and_codes() -> None:
    assert {kind.status for kind in tree()} == {
        400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 500, 503,
    }  # fmt: skip
    failures = list(tree(JobFailed))
    assert len({kind.code for kind in failures}) == len(failures)


def test_a_limit_says_when_to_come_back() -> None:
    assert RateLimited("too many").retry_after_s == 1.0
    assert RateLimited("too many", code="too_many_jobs", retry_after_s=5).retry_after_s == 5
