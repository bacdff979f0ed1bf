"""API keys, cached for some seconds, so that most requests need no call to Redis for them."""

import time

from storage.keys import ApiKey, KeyStore

MAX_CACHED = 4096


class KeyCache:
    """``ttl_s``: how long a revoked key may still work."""

    def __init__(self, keys: KeyStore, ttl_s: float) -> None:
        self.store, self._ttl_s = keys, ttl_s
        self._held: dict[str, tuple[float, ApiKey]] = {}

    async def find(self, secret: str) -> ApiKey | None:
        until, key = self._held.get(secret, (0.0, None))
        if key is not None and until > time.monotonic() and not key.expired:
            return key
        found = await self.store.find(secret)
        if len(self._held) >= MAX_CACHED:
            self._held.clear()
        if found is not None:
            self._held[secret] = (time.monotonic() + self._ttl_s, found)
        else:
            self._held.pop(secret, None)
        return found
