"""API keys: made, found, listed and revoked. Of the secret itself only a hash is kept.

Plain SHA-256 is enough here: a secret is 256 random bits, so it cannot be guessed from a list.
"""

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from redis.asyncio import Redis

from schemas.base import Frozen

Scope = Literal["read", "write", "webhooks", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PROJECT_SCOPES: tuple[Scope, ...] = ("read", "write", "webhooks")  # metrics cover every project
PREFIX = "rtk_"
_SECRET = re.compile(PREFIX + r"[A-Za-z0-9_-]{40,128}")  # at least what `create` draws itself

Project = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


def on_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needs_keys(auth: str | None, host: str) -> bool:
    """Whether a server with these settings asks every request for a key."""
    return auth == "keys" or (auth is None and not on_loopback(host))


class ApiKey(Frozen):
    """What a key allows. ``hint``: the secret's last characters, to tell keys apart by."""

    id: str
    project: Project
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    name: Annotated[str, Field(max_length=100)] = ""
    hint: str
    created_at: int
    expires_at: int | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


class KeyStore:
    """Keys in Redis: ``keys`` maps ids to hashes of secrets, ``key:<hash>`` holds the record."""

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix

    async def create(
        self,
        project: str,
        scopes: Sequence[Scope] = PROJECT_SCOPES,
        *,
        name: str = "",
        ttl_s: int | None = None,
        secret: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is never shown again.

        ``secret``: one that the caller drew, as a deployment does that must know it beforehand;
        given again it yields the key that it has. ValueError: a bad project name or secret.
        """
        if secret is None:
            secret = PREFIX + secrets.token_urlsafe(32)
        elif not _SECRET.fullmatch(secret):
            raise ValueError(f"secret: it must match {_SECRET.pattern}")
        elif (made := await self.find(secret)) is not None:
            return made, secret
        now = int(time.time())
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            project=project,
            scopes=tuple(dict.fromkeys(scopes)),
            name=name,
            hint=secret[-4:],
            created_at=now,
            expires_at=now + ttl_s if ttl_s else None,
        )
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._record(_digest(secret)), key.model_dump_json(), ex=ttl_s)
            pipe.hset(f"{self._prefix}:keys", key.id, _digest(secret))
            await pipe.execute()
        return key, secret

    async def find(self, secret: str) -> ApiKey | None:
        """The key of ``secret``; None: there is none, it was revoked or has expired."""
        record = await self._redis.get(self._record(_digest(secret)))
        key = ApiKey.model_validate_json(record) if record else None
        return None if key is None or key.expired else key

    async def revoke(self, key_id: str) -> bool:
        """Make a key invalid. False: there is no such key."""
        digest: Any = await self._redis.hget(f"{self._prefix}:keys", key_id)
        if digest is None:
            return False
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._record(digest.decode()))
            pipe.hdel(f"{self._prefix}:keys", key_id)
            await pipe.execute()
        return True

    async def list(self) -> Sequence[ApiKey]:
        """All valid keys, oldest first."""
        digests: Any = await self._redis.hvals(f"{self._prefix}:keys")
        names = [self._record(digest.decode()) for digest in digests]
        records = await self._redis.mget(names) if names else []
        keys = [ApiKey.model_validate_json(record) for record in records if record]
        return sorted((key for key in keys if not key.expired), key=lambda key: key.created_at)

    def _record(self, digest: str) -> str:
        return f"{self._prefix}:key:{digest}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
