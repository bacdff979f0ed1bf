"""What becomes of a job that stopped with an error: the one place that decides it.

fail      it would stop so again: the client is told why
release   another attempt may succeed: back into the queue, until the attempts are used up
wait      a store failed: back into the queue after a pause, and no attempt is used up
drop      the job is another's: write nothing
"""

import sys
from typing import Literal, NamedTuple

from redis import RedisError

from schemas.errors import JobFailed, RetakeError
from schemas.jobs import JobError
from storage.jobs.records import LeaseLost
from storage.objects.objects import ObjectStoreError
from workers.control.lease import HandBack

OUT_OF_MEMORY = JobError(
    code="out_of_memory",
    message="the worker ran out of memory; a smaller size, fewer frames or a smaller capture "
    "needs less",
)
STORAGE = JobError(code="storage_unavailable", message="the storage of the service did not answer")
UNFORESEEN = JobError(code=JobFailed.code, message="the generation stopped on an internal error")


class FailurePolicy(NamedTuple):
    """``error`` None with ``release``: a drain, which does not count as an attempt."""

    action: Literal["fail", "release", "wait", "drop"]
    error: JobError | None = None
    unforeseen: bool = False


def failure_policy(error: Exception) -> FailurePolicy:
    """Never the error's own text, unless it is ours: that of others may hold paths and hosts."""
    if isinstance(error, LeaseLost):
        return FailurePolicy("drop")
    if isinstance(error, HandBack):
        return FailurePolicy("release")
    if isinstance(error, RetakeError):
        retryable = isinstance(error, JobFailed) and error.retryable
        told = JobError(code=error.code, message=error.message)
        return FailurePolicy("release" if retryable else "fail", told)
    if is_out_of_memory(error):
        return FailurePolicy("fail", OUT_OF_MEMORY)
    if isinstance(error, RedisError | ObjectStoreError):
        return FailurePolicy("wait", STORAGE)
    return FailurePolicy("release", UNFORESEEN, unforeseen=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Of the GPU (``torch.OutOfMemoryError``) or the host; torch is not imported for it."""
    torch = sys.modules.get("torch")  # it is there where one of its errors is
    if isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    ):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
