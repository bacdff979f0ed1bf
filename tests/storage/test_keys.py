"""Keys in a real Valkey: drawn here or by who deploys, found, and made once."""

import secrets

import pytest
from redis.asyncio import Redis

from storage.keys import PREFIX, KeyStore

OWN = PREFIX + secrets.token_urlsafe(32)


@pytest.fixture
def keys(redis: Redis, prefix: str) -> KeyStore:
    return KeyStore(redis, prefix=prefix)


async def test_a_secret_of_ones_own_makes_one_key_however_often_it_is_given(keys: KeyStore) -> None:
    made, secret = await keys.create("demo", ["read"], name="first", secret=OWN)
    assert secret == OWN
    again, _ = await keys.create("demo", ["read"], name="first", secret=OWN)
    assert again == made == await keys.find(OWN)
    assert await keys.list() == [made]


@pytest.mark.parametrize(
    "secret",
    ["", "rtk_short", OWN.removeprefix(PREFIX), OWN + " "],
    ids=["empty", "short", "no prefix", "a space behind"],
)
async def test_a_secret_that_could_be_guessed_or_sent_wrongly_is_refused(
    keys: KeyStore, secret: str
) -> None:
    with pytest.raises(ValueError, match="secret"):
        await keys.create("demo", secret=secret)
    assert await keys.list() == []
