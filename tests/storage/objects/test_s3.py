"""What only S3 has: presigned URLs, credentials, and a network in between."""

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from storage.connect import open_objects
from storage.objects.objects import ObjectStore, ObjectStoreError
from storage.objects.s3 import S3Store
from storage.objects.s3_parts import PART_BYTES
from storage.settings import StorageSettings
from tests.faults import Fault, FaultyProxy
from tests.servers import Seaweed

BODY = os.urandom(300_000)


@pytest.fixture
def store(s3_settings: StorageSettings) -> Iterator[ObjectStore]:
    with contextlib.closing(open_objects(s3_settings)) as store:
        yield store


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[FaultyProxy]:
    with FaultyProxy(seaweed.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind(s3_settings: StorageSettings, proxy: FaultyProxy) -> Iterator[ObjectStore]:
    """The same store, reached through the proxy."""
    settings = s3_settings.model_copy(update={"s3_endpoint_url": proxy.url})
    with contextlib.closing(open_objects(settings)) as store:
        yield store


def fetch(url: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b"", {}


def presigned(store: ObjectStore, key: str, expires_s: int = 60) -> str:
    url = store.presign(key, expires_s=expires_s, filename="car.mp4", content_type="video/mp4")
    assert url is not None
    return url


def test_a_presigned_url_reads_one_object(store: ObjectStore) -> None:
    store.put("videos/a", BODY, content_type="video/mp4")
    store.put("videos/b", b"other")
    url = presigned(store, "videos/a")
    status, body, headers = fetch(url)
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Disposition"] == 'inline; filename="car.mp4"'
    assert fetch(url.replace("videos/a", "videos/b"))[0] == 403
    assert fetch(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"))[0] == 403
    assert fetch(url.split("?")[0])[0] == 403
    for filename in ('a"; x="', "a\r\nX: 1", "../a", ""):
        with pytest.raises(ValueError, match="filename"):
            store.presign("videos/a", expires_s=60, filename=filename)


def test_presigned_urls_name_the_public_endpoint(s3_settings: StorageSettings) -> None:
    settings = s3_settings.model_copy(
        update={"public_endpoint_url": "https://videos.example.com", "s3_region": "eu-west-1"}
    )
    with contextlib.closing(open_objects(settings)) as store:
        store.put("a", BODY)  # itself it goes by the inner one
        assert store.get("a") == BODY
        assert presigned(store, "a").startswith("https://videos.example.com/retake-test/")


def test_content_type_is_kept(store: ObjectStore) -> None:
    with store.put_parts("a", content_type="video/mp4") as writer:
        writer.write(bytes(PART_BYTES + 1))
        writer.commit()
    store.put("b", b"", content_type="application/json", if_absent=True)
    for key, wanted in (("a", "video/mp4"), ("b", "application/json")):
        url = store.presign(key, expires_s=60)
        assert url is not None
        assert fetch(url)[2]["Content-Type"] == wanted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_an_error(
    s3_settings: StorageSettings,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    code: str,
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(open_objects(s3_settings)) as store:
        with pytest.raises(ObjectStoreError, match=f"cannot write object a: {code}"):
            store.put("a", b"")
        with pytest.raises(ObjectStoreError):
            store.check()


def test_a_missing_bucket_is_an_error(proxy: FaultyProxy) -> None:
    with contextlib.closing(S3Store(bucket="no-such-bucket", endpoint_url=proxy.url)) as store:
        for ask in (lambda: store.get("a"), lambda: list(store.list(""))):
            with pytest.raises(ObjectStoreError):
                ask()
        # as every server answers that does not make buckets by itself
        proxy.add(Fault("PUT", status=404))
        with pytest.raises(ObjectStoreError, match="there is no bucket 'no-such-bucket'"):
            store.check()


def test_a_bucket_that_the_server_makes_with_its_first_object_is_there(seaweed: Seaweed) -> None:
    with contextlib.closing(
        S3Store(bucket="made-when-written", endpoint_url=seaweed.endpoint_url)
    ) as store:
        store.check()
        store.put("a", BODY)
        assert store.get("a") == BODY


def test_nobody_there_is_an_error_that_names_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with contextlib.closing(S3Store(bucket="retake", endpoint_url="http://127.0.0.1:9")) as store:
        with pytest.raises(ObjectStoreError) as caught:
            store.get("a")
        assert str(caught.value) == "cannot read object a: EndpointConnectionError"


@pytest.mark.parametrize("status", [500, 503])
def test_a_storm_that_passes_is_not_seen(
    behind: ObjectStore, proxy: FaultyProxy, status: int
) -> None:
    for method in ("PUT", "GET"):
        proxy.add(Fault(method, status=status), times=2)
    assert behind.put("a", BODY)
    assert behind.get("a") == BODY
    assert not proxy.faults


def test_a_storm_that_stays_is_an_error(behind: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.add(Fault("PUT", status=503), times=100)
    with pytest.raises(ObjectStoreError, match="cannot write object a"):
        behind.put("a", BODY)
    assert proxy.seen.count("PUT") < 10


def test_a_cut_body_is_read_on_from_where_it_ended(behind: ObjectStore, proxy: FaultyProxy) -> None:
    behind.put("a", BODY)
    buffer = bytearray(len(BODY))
    proxy.add(Fault(cut_at=100_000), times=2)
    behind.read_into("a", 0, memoryview(buffer))
    assert buffer == BODY
    proxy.add(Fault(cut_at=100_000))
    assert behind.get("a") == BODY
    assert proxy.seen.count("GET") == 5

    proxy.add(Fault(cut_at=10), times=100)
    for ask in (lambda: behind.get("a"), lambda: behind.read_into("a", 0, memoryview(buffer))):
        with pytest.raises(ObjectStoreError, match="cannot read object a"):
            ask()


def test_a_silent_server_is_asked_again(seaweed: Seaweed, prefix: str, proxy: FaultyProxy) -> None:
    with contextlib.closing(
        S3Store(bucket=seaweed.bucket, prefix=prefix, endpoint_url=proxy.url, timeout_s=0.2)
    ) as store:
        store.put("a", BODY)
        proxy.add(Fault(hang=True))
        assert store.get("a") == BODY
        proxy.add(Fault(hang=True), times=100)
        with pytest.raises(ObjectStoreError, match="cannot read object a: ReadTimeoutError"):
            store.get("a")


def test_a_create_only_write_whose_answer_was_lost(behind: ObjectStore, proxy: FaultyProxy) -> None:
    """The retry finds the object: somebody was first, and a look shows that it was oneself."""
    proxy.add(Fault("PUT", lose_answer=True))
    assert behind.put("manifest", BODY, if_absent=True) is False
    assert behind.get("manifest") == BODY


def test_a_multipart_upload_through_a_bad_network(behind: ObjectStore, proxy: FaultyProxy) -> None:
    body = os.urandom(3 * PART_BYTES)
    proxy.add(Fault("PUT", status=503))
    proxy.add(Fault("PUT", lose_answer=True))
    proxy.add(Fault("POST", status=500))
    with behind.put_parts("a") as writer:
        writer.write(body)
        assert writer.commit()
    assert hashlib.sha256(behind.get("a")).digest() == hashlib.sha256(body).digest()


def test_a_part_that_cannot_be_sent_fails_the_write(
    behind: ObjectStore, store: ObjectStore, proxy: FaultyProxy
) -> None:
    proxy.add(Fault("PUT", status=503), times=100)
    with behind.put_parts("a") as writer:
        writer.write(bytes(PART_BYTES + 1))
        with pytest.raises(ObjectStoreError, match="cannot commit object a"):
            writer.commit()
    assert list(store.list("")) == []
    assert store.abort_unfinished(0) == 0
