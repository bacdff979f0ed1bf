"""Turns boto3's errors into the object store's own; with their codes, never their messages."""

import contextlib
from collections.abc import Iterator

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from storage.objects.objects import ObjectMissing, ObjectStoreError

# What a body raises while it is read: urllib3's own, botocore's wrappers, the socket's
BODY_ERRORS = (BotoCoreError, HTTPError, OSError)
_MISSING = ("NoSuchKey", "NotFound", "404")


def code_of(error: ClientError) -> str:
    """The S3 error code, such as ``NoSuchKey``; for a bare HEAD the status."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextlib.contextmanager
def map_errors(verb: str, key: str) -> Iterator[None]:
    """Within the block, raise ObjectMissing or ObjectStoreError instead of boto3's errors."""
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _MISSING:
            raise ObjectMissing(key) from None
        raise ObjectStoreError(f"cannot {verb} object {key}: {code}") from error
    except BODY_ERRORS as error:
        raise ObjectStoreError(f"cannot {verb} object {key}: {type(error).__name__}") from error
