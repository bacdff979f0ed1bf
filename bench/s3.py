"""A real S3 server for benchmarks: SeaweedFS over HTTP on this machine."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3

from storage.connect import open_objects
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.servers import run_seaweed


@contextlib.contextmanager
def s3_server() -> Iterator[ObjectStore]:
    """An empty bucket of a SeaweedFS of its own."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test-access-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory() as folder, run_seaweed(Path(folder)) as endpoint_url:
        with contextlib.closing(boto3.client("s3", endpoint_url=endpoint_url)) as client:
            client.create_bucket(Bucket="bench")
        settings = StorageSettings(
            redis_url="unix:///unused", object_url="s3://bench", s3_endpoint_url=endpoint_url
        )
        objects = open_objects(settings)
        objects.put("warm", bytes(1 << 20))  # the server makes its first volumes
        yield objects
        objects.close()
