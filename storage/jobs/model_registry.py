"""Which models can be asked for: cards that workers publish and renew, read by the API."""

from collections.abc import Sequence

from redis.asyncio import Redis

from schemas.models import ModelCard
from storage.lua import Scripts


class ModelRegistry:
    """The models that the workers of one Redis offer. ``generation``: of the worker."""

    def __init__(self, redis: Redis, *, prefix: str = "retake", generation: int = 0) -> None:
        self._generation = generation
        self._redis, self._offered = redis, f"{prefix}:offered"
        self._scripts = Scripts(redis, prefix)

    async def publish(self, card: ModelCard, ttl_s: float) -> None:
        """Offer a model, or renew the offer, for ``ttl_s`` seconds from now."""
        await self._scripts.run(
            "publish_model",
            card.id,
            card.model_dump_json(),
            round(ttl_s * 1000),
            self._generation,
        )

    async def last_offer_ms(self) -> int:
        """When a worker last published a card, in ms since 1970 by Redis' clock; 0: never."""
        return int(await self._redis.get(self._offered) or 0)

    async def list(self) -> Sequence[ModelCard]:
        """The models that are offered now, by id."""
        cards = await self._scripts.run("models")
        return sorted(map(ModelCard.model_validate_json, cards), key=lambda card: card.id)
