"""Which models can be asked for: cards that workers publish and renew, read by the API."""

from collections.abc import Sequence

from redis.asyncio import Redis

from schemas.models import ModelCard
from storage.lua import Scripts


class ModelRegistry:
    """The models that the workers of one Redis offer."""

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._scripts = Scripts(redis, prefix)

    async def publish(self, card: ModelCard, ttl_s: float) -> None:
        """Offer a model, or renew the offer, for ``ttl_s`` seconds from now."""
        await self._scripts.run(
            "publish_model", card.id, card.model_dump_json(), round(ttl_s * 1000)
        )

    async def list(self) -> Sequence[ModelCard]:
        """The models that are offered now, by id."""
        cards = await self._scripts.run("models")
        return sorted(map(ModelCard.model_validate_json, cards), key=lambda card: card.id)
