"""The models that can be asked for: cards that workers publish, cached for some seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from schemas.errors import InvalidRequest, Unavailable
from schemas.models import ModelCard


class Catalogue:
    """Cards by id, read again through ``load`` after ``ttl_s`` seconds.

    Models that were known once stay known while no worker is up: jobs then wait in the queue.
    """

    def __init__(self, load: Callable[[], Awaitable[Sequence[ModelCard]]], ttl_s: float) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._cards: Mapping[str, ModelCard] = {}
        self._fresh_until = 0.0
        self._loading = asyncio.Lock()

    async def cards(self) -> Mapping[str, ModelCard]:
        """All cards in order of their ids; empty when no worker has published one."""
        if time.monotonic() < self._fresh_until:
            return self._cards
        async with self._loading:
            if time.monotonic() >= self._fresh_until:
                cards = sorted(await self._load(), key=lambda card: card.id)
                self._cards = {card.id: card for card in cards} or self._cards
                self._fresh_until = time.monotonic() + self._ttl_s
        return self._cards

    async def pick(self, model: str | None, default: str | None, param: str = "model") -> ModelCard:
        """The card of ``model``, else of ``default``, else of the only one there is.

        Raises Unavailable before any worker has come up, InvalidRequest naming the known ids.
        """
        cards = await self.cards()
        if not cards:
            raise Unavailable("no model is loaded yet; try again shortly")
        known = ", ".join(cards)
        wanted = model or default or (next(iter(cards)) if len(cards) == 1 else None)
        if wanted is None:
            raise InvalidRequest(f"{param}: is required; allowed are {known}", param=param)
        if wanted not in cards:
            raise InvalidRequest(
                f"{param}: {wanted!r} is not known; allowed are {known}",
                param=param,
                code="model_not_found",
            )
        return cards[wanted]
