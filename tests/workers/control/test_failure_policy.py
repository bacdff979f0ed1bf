import pytest
import torch
from redis import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisOutOfMemoryError

from schemas.errors import ArtifactCorrupt, InvalidRequest, JobCancelled, JobFailed
from storage.jobs.records import LeaseLost
from storage.objects.objects import ObjectStoreError
from workers.control.failure_policy import (
    OUT_OF_MEMORY,
    STORAGE,
    UNFORESEEN,
    failure_policy,
    is_out_of_memory,
)
from workers.control.lease import HandBack


def test_a_lost_job_is_dropped() -> None:
    assert failure_policy(LeaseLost("another has it")).action == "drop"


def test_a_drain_hands_back_without_an_error() -> None:
    assert failure_policy(HandBack()) == ("release", None, False)


@pytest.mark.parametrize("error", [JobCancelled("stop"), InvalidRequest("no"), JobFailed("bad")])
def test_our_own_errors_fail_with_their_code_and_message(error: JobFailed) -> None:
    verdict = failure_policy(error)
    assert (verdict.action, verdict.unforeseen) == ("fail", False)
    assert verdict.error is not None
    assert (verdict.error.code, verdict.error.message) == (error.code, error.message)


def test_retryable_ones_go_back_with_it() -> None:
    verdict = failure_policy(ArtifactCorrupt("sum"))
    assert verdict.action == "release"
    assert verdict.error is not None
    assert verdict.error.code == "artifact_corrupt"


@pytest.mark.parametrize(
    "error",
    [
        ObjectStoreError("http://host"),
        RedisConnectionError("host"),
        RedisOutOfMemoryError("OOM command not allowed"),
    ],
)
def test_storage_trouble_goes_back_and_names_no_host(error: Exception) -> None:
    assert failure_policy(error) == ("wait", STORAGE, False)


def test_what_nobody_foresaw_goes_back_without_its_text() -> None:
    assert failure_policy(KeyError("/a/path")) == ("release", UNFORESEEN, True)


def test_every_way_to_run_out_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as of_the_host:
        torch.empty(1 << 55)
    for error in (of_the_host.value, MemoryError(), torch.OutOfMemoryError("device")):
        assert is_out_of_memory(error)
        assert failure_policy(error) == ("fail", OUT_OF_MEMORY, False)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
