"""Keys, scopes, projects; and the refusals that hold where there are no keys."""

import asyncio
import re
import subprocess
import sys

import httpx
import openai
import pytest

from service.settings import ServiceSettings
from storage.connect import open_redis
from storage.keys import KeyStore
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key, wait_for


@pytest.fixture
def alice(own_storage: StorageSettings) -> str:
    return make_key(own_storage, "alice")


@pytest.fixture
def keyed(serve: Serve, alice: str) -> Api:
    return serve(auth="keys", key_cache_s=0)


def test_a_request_without_a_key_is_refused_on_every_route(keyed: Api) -> None:
    document = httpx.get(f"{keyed.url}/openapi.json").json()
    for path, operations in document["paths"].items():
        if not path.startswith("/v1"):
            continue
        for method in operations:
            if method == "options":  # what of a protocol is offered, anyone may ask
                continue
            url = re.sub(r"\{(video|analysis)_id\}", r"\1_00000000", path)
            response = httpx.request(method, keyed.url + url)
            assert response.status_code == 401, (method, path)
            if method == "head":  # has no body
                continue
            assert response.json()["error"]["code"] == "missing_api_key"
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("value", ["Bearer nonsense", "Bearer", "Basic eDp5", "Bearer rtk_"])
def test_a_bad_key_is_refused(keyed: Api, value: str) -> None:
    response = keyed.http.get("/videos", headers={"authorization": value})
    assert response.status_code == 401


def test_the_sdk_with_a_key(keyed: Api, alice: str) -> None:
    with keyed.sdk(api_key=alice) as sdk:
        assert sdk.videos.create_and_poll(prompt="A car.").status == "completed"
    with keyed.sdk(api_key="rtk_wrong") as sdk, pytest.raises(openai.AuthenticationError):
        sdk.videos.list()


def test_scopes(keyed: Api, own_storage: StorageSettings) -> None:
    reader = keyed.of(make_key(own_storage, "alice", "read"))
    assert reader.http.get("/videos").status_code == 200
    response = reader.http.post("/videos", json={"prompt": "A car."})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "insufficient_scope")
    assert "needs write" in response.json()["error"]["message"]
    writer = keyed.of(make_key(own_storage, "alice", "write"))
    assert writer.create()["status"] == "queued"
    assert writer.http.get("/videos").status_code == 403


def test_a_revoked_or_expired_key_is_worthless(keyed: Api, own_storage: StorageSettings) -> None:
    async def make_and_revoke() -> tuple[str, str, bool]:
        redis = open_redis(own_storage)
        keys = KeyStore(redis, prefix=own_storage.redis_prefix)
        revoked, secret = await keys.create("alice", name="old")
        listed = {key.id for key in await keys.list()}
        assert await keys.revoke(revoked.id)
        assert revoked.id in listed
        assert revoked.id not in {key.id for key in await keys.list()}
        _, expired = await keys.create("alice", ttl_s=1)
        again = await keys.revoke(revoked.id)
        await redis.aclose()
        return secret, expired, again

    revoked, expired, again = asyncio.run(make_and_revoke())
    assert not again
    assert keyed.of(revoked).http.get("/videos").status_code == 401
    wait_for(lambda: keyed.of(expired).http.get("/videos").status_code == 401, "it to expire")


def test_a_key_in_the_cache_still_expires(
    serve: Serve, own_storage: StorageSettings, alice: str
) -> None:
    short = make_key(own_storage, "alice", "read", ttl_s=2)
    api = serve(auth="keys", key_cache_s=60, worker=False).of(short)
    assert api.http.get("/videos").status_code == 200
    wait_for(lambda: api.http.get("/videos").status_code == 401, "it to expire")


def test_secrets_are_not_stored(own_storage: StorageSettings, alice: str) -> None:
    import redis

    with redis.Redis.from_url(own_storage.redis_url) as client:
        for name in client.scan_iter(f"{own_storage.redis_prefix}:*"):
            kind = client.type(name)
            value = client.get(name) if kind == b"string" else client.hgetall(name)
            assert alice not in f"{name!r}{value!r}"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org", "::"])
def test_any_other_address_asks_for_keys(own_storage: StorageSettings, host: str) -> None:
    assert ServiceSettings(storage=own_storage, host=host).needs_keys
    with pytest.raises(ValueError, match="only a loopback address may serve without keys"):
        ServiceSettings(storage=own_storage, host=host, auth="none")


def test_it_refuses_to_start_where_nobody_could_get_in(own_storage: StorageSettings) -> None:
    env = {
        "RETAKE_REDIS_URL": own_storage.redis_url,
        "RETAKE_OBJECT_URL": own_storage.object_url,
        "RETAKE_HOST": "0.0.0.0",
        "RETAKE_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "service"], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "no API key exists yet" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_none(own_storage: StorageSettings, host: str) -> None:
    assert not ServiceSettings(storage=own_storage, host=host).needs_keys
    assert ServiceSettings(storage=own_storage, host=host, auth="keys").needs_keys


def test_pages_of_other_sites_are_kept_out(api: Api) -> None:
    """A page in the same machine's browser: by form post, or by rebinding its own name."""
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8000"},
    ):
        files = {"prompt": (None, "A car.")}
        response = api.http.post("/videos", files=files, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "not_loopback")
    ours = {"origin": "http://localhost:3000"}
    assert api.http.get("/videos", headers=ours).status_code == 200
