"""The object store on S3 or what speaks its protocol, through boto3.

Objects are written by PUT, large ones by multipart upload, whose parts are sent while the writer
goes on. Reads are ranged GETs into the caller's own buffer. Create-only writes use
``If-None-Match: *``, so the store decides. Bodies are not hashed twice: callers have checksums of
their own, so botocore computes one only where S3 requires it.
"""

import io
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from storage.objects.objects import (
    BINARY,
    Data,
    ObjectInfo,
    ObjectMissing,
    ObjectStoreError,
    ObjectTruncated,
    check_key,
    folder_prefix,
)
from storage.objects.s3_errors import BODY_ERRORS, code_of, map_errors
from storage.objects.s3_parts import S3PartWriter, put_if_absent

_BODY_TRIES = 4  # botocore retries until a body begins; a connection lost within it is for us
_DELETE_BATCH = 1000  # the most that DeleteObjects takes
_UPLOAD_THREADS = 4
_PROBE = "health"
_FILENAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CONFIG: Mapping[str, Any] = {
    "signature_version": "s3v4",
    "connect_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "max_pool_connections": 64,
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class S3Store:
    """Objects in ``bucket`` under ``prefix``. The bucket must exist.

    ``public_endpoint_url``: where clients reach the same bucket, for presigned URLs.
    ``timeout_s``: how long an answer may send nothing before the request is repeated.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "",
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        region: str | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        self._bucket = bucket
        self._base = folder_prefix(prefix)
        self._client = self._public = _open_client(endpoint_url, region, timeout_s)
        if public_endpoint_url is not None:
            self._public = _open_client(public_endpoint_url, region, timeout_s)
        self._uploads = ThreadPoolExecutor(_UPLOAD_THREADS, "s3-upload")

    def put(
        self,
        key: str,
        data: Data,
        *,
        content_type: str = BINARY,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        request = {**self._address(key), "ContentType": content_type}
        # as bytes, which http.client sends in one call: the copy costs less than many small sends
        body = data if isinstance(data, bytes | bytearray) else _join(data)
        with map_errors("write", key):
            if if_absent:
                return put_if_absent(self._client, {**request, "Body": body})
            self._client.put_object(**request, Body=body)
            return True

    def put_parts(self, key: str, *, content_type: str = BINARY) -> S3PartWriter:
        request = {**self._address(key), "ContentType": content_type}
        return S3PartWriter(self._client, self._uploads, request, key)

    def get(self, key: str) -> bytes:
        tries_left = _BODY_TRIES
        with map_errors("read", key):
            while True:
                answer = self._client.get_object(**self._address(key))
                try:
                    with answer["Body"] as body:
                        return bytes(body.read())
                except BODY_ERRORS:
                    tries_left -= 1
                    if not tries_left:
                        raise

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        view = buffer.cast("B")
        done, tries_left = 0, _BODY_TRIES
        with map_errors("read", key):
            while done < len(view):
                body = self._open_range(key, offset + done, len(view) - done)
                try:
                    with body:
                        while count := body.readinto(view[done:]):
                            done += count
                    break  # complete, or the object ended
                except BODY_ERRORS:
                    tries_left -= 1
                    if not tries_left:
                        raise
        if done < len(view):
            raise ObjectTruncated(
                f"object {key} ends at byte {offset + done}, "
                f"asked for {offset} to {offset + len(view)}"
            )

    def _open_range(self, key: str, offset: int, size: int) -> Any:
        """A body of ``size`` bytes from ``offset`` on, or of fewer where the object ends."""
        wanted = f"bytes={offset}-{offset + size - 1}"
        try:
            return self._client.get_object(**self._address(key), Range=wanted)["Body"]
        except ClientError as error:
            if code_of(error) == "InvalidRange":
                return io.BytesIO()
            raise

    def stat(self, key: str) -> ObjectInfo:
        with map_errors("stat", key):
            head = self._client.head_object(**self._address(key))
        modified_at = head["LastModified"].timestamp()
        return ObjectInfo(key, head["ContentLength"], modified_at, head["ETag"].strip('"'))

    def size(self, key: str) -> int:
        return self.stat(key).size

    def delete(self, *keys: str) -> None:
        names = [{"Key": self._base + check_key(key)} for key in keys]
        for first in range(0, len(names), _DELETE_BATCH):
            batch = {"Objects": names[first : first + _DELETE_BATCH], "Quiet": True}
            with map_errors("delete", keys[first]):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=batch)
            for failed in answer.get("Errors", []):
                raise ObjectStoreError(f"cannot delete object {keys[first]}: {failed.get('Code')}")

    def delete_prefix(self, prefix: str) -> None:
        self.delete(*[info.key for info in self.list(prefix)])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._base + folder_prefix(prefix)
        )
        with map_errors("list", prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectInfo(
                        item["Key"][len(self._base) :],
                        item["Size"],
                        item["LastModified"].timestamp(),
                        item["ETag"].strip('"'),
                    )

    def presign(
        self,
        key: str,
        *,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str | None:
        request: dict[str, Any] = self._address(key)
        if filename is not None:
            if not _FILENAME.fullmatch(filename):
                raise ValueError(f"filename {filename!r} is not allowed")
            request["ResponseContentDisposition"] = f'inline; filename="{filename}"'
        if content_type is not None:
            request["ResponseContentType"] = content_type
        url = self._public.generate_presigned_url("get_object", Params=request, ExpiresIn=expires_s)
        return str(url)

    def abort_unfinished(self, older_than_s: float) -> int:
        aborted = 0
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._base
        )
        with map_errors("abort", self._base):
            for page in pages:
                for upload in page.get("Uploads", []):
                    if time.time() - upload["Initiated"].timestamp() < older_than_s:
                        continue
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    aborted += 1
        return aborted

    def check(self) -> None:
        try:
            with map_errors("reach", "store"):
                # a full bucket is there too, and SeaweedFS makes one when it is written to
                self._client.put_object(**self._address(_PROBE), Body=b"")
        except ObjectMissing:
            raise ObjectStoreError(f"there is no bucket {self._bucket!r}") from None

    def close(self) -> None:
        self._uploads.shutdown()
        self._client.close()
        self._public.close()

    def _address(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._base + check_key(key)}


def _open_client(endpoint_url: str | None, region: str | None, timeout_s: float) -> Any:
    # AWS has one host name per bucket; self-hosted servers expect the bucket in the path
    style: Any = {"addressing_style": "path" if endpoint_url else "auto"}
    # a separate session: boto3's default one is not safe to share between threads
    config = Config(**_CONFIG, s3=style, read_timeout=timeout_s)
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint_url, region_name=region, config=config
    )


def _join(data: Data) -> bytes:
    return b"".join(memoryview(piece) for piece in (data if isinstance(data, list) else [data]))
