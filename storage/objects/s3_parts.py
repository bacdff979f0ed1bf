"""Create-only PUT, and objects uploaded in parts while they are written, in bounded memory."""

import contextlib
from concurrent.futures import Executor, Future, wait
from typing import Any, Self

from botocore.exceptions import ClientError
from typing_extensions import Buffer

from storage.objects.objects import ObjectStoreError
from storage.objects.s3_errors import code_of, map_errors

PART_BYTES = 16 * 2**20  # S3 allows 5 MiB to 5 GiB and 10,000 of them: objects to 160 GB
_PARTS_IN_FLIGHT = 3  # so at most 64 MiB per writer, with the part being filled
_CONFLICT_TRIES = 8
# 412: the object exists. 409: another write to the same key is going on, try again
_EXISTS = "PreconditionFailed"
_CONFLICT = "ConditionalRequestConflict"


def put_if_absent(client: Any, request: dict[str, Any]) -> bool:
    """PUT unless the object exists; the store decides which writer was first."""
    for _ in range(_CONFLICT_TRIES):
        try:
            client.put_object(**request, IfNoneMatch="*")
            return True
        except ClientError as error:
            if code_of(error) == _EXISTS:
                return False
            if code_of(error) != _CONFLICT:
                raise
    raise ObjectStoreError(f"cannot write object {request['Key']}: {_CONFLICT}")


class S3PartWriter:
    """A multipart upload that begins with the first full part; a smaller object is one PUT."""

    def __init__(self, client: Any, uploads: Executor, request: dict[str, Any], key: str) -> None:
        self._client, self._uploads = client, uploads
        self._request, self._key = request, key
        self._named = {name: request[name] for name in ("Bucket", "Key")}
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[Future[dict[str, Any]]] = []
        self._open = True

    def write(self, data: Buffer) -> None:
        if not self._open:
            raise ValueError("the writer was committed or aborted")
        view = memoryview(data).cast("B")
        while len(view):
            room = PART_BYTES - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == PART_BYTES:
                self._send_part()

    def commit(self, *, if_absent: bool = False) -> bool:
        if not self._open:
            raise ValueError("the writer was committed or aborted")
        with self, map_errors("commit", self._key):
            if self._upload_id is None:
                request = {**self._request, "Body": bytes(self._buffer)}
                if if_absent:
                    return put_if_absent(self._client, request)
                self._client.put_object(**request)
                return True
            if self._buffer:
                self._send_part()
            return self._complete(if_absent)

    def abort(self) -> None:
        if not self._open:
            return
        self._open = False
        wait(self._parts)  # a part that arrives after the abort would stay, and be charged for
        self._parts, self._buffer = [], bytearray()
        if self._upload_id is not None:
            # what cannot be aborted now is left to abort_unfinished
            with contextlib.suppress(ObjectStoreError), map_errors("abort", self._key):
                self._client.abort_multipart_upload(**self._named, UploadId=self._upload_id)

    def _send_part(self) -> None:
        with map_errors("write", self._key):
            if self._upload_id is None:
                begun = self._client.create_multipart_upload(**self._request)
                self._upload_id = begun["UploadId"]
            if len(self._parts) >= _PARTS_IN_FLIGHT:
                self._parts[-_PARTS_IN_FLIGHT].result()
            part, self._buffer = self._buffer, bytearray()
            number = len(self._parts) + 1
            self._parts.append(self._uploads.submit(self._upload, number, part))

    def _upload(self, number: int, part: bytearray) -> dict[str, Any]:
        answer = self._client.upload_part(
            **self._named, UploadId=self._upload_id, PartNumber=number, Body=part
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _complete(self, if_absent: bool) -> bool:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self._client.complete_multipart_upload(
                **self._named,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": [part.result() for part in self._parts]},
                **condition,
            )
        except ClientError as error:
            if if_absent and code_of(error) == _EXISTS:
                return False
            raise
        self._upload_id = None  # nothing left to abort
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.abort()
