"""Model cards: offered while a worker renews them."""

import json

from redis.asyncio import Redis

from schemas.models import IntRange, LatentGrid, ModelCard
from storage.jobs.jobs import Jobs

ANY = IntRange(minimum=1, maximum=64, default=8)


def make_card(model_id: str, revision: str = "1") -> ModelCard:
    return ModelCard(
        id=model_id,
        family="wan",
        fingerprint="f" * 64,
        revision=revision,
        dtype="float32",
        licence="apache-2.0",
        default_size="64x64",
        width_range=ANY,
        height_range=ANY,
        max_pixels=4096,
        num_frames=ANY,
        num_inference_steps=ANY,
        fps=ANY,
        guidance_scale=1.0,
        layers=2,
        heads=2,
        width=32,
        grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
        latent_channels=16,
    )


async def test_an_api_reads_the_cards_of_later_workers(jobs: Jobs, redis: Redis) -> None:
    await jobs.models.publish(make_card("a"), 60)
    (told,) = await jobs.models._scripts.run("models")
    later = json.dumps({**json.loads(told), "supports_telepathy": True})
    await jobs.models._scripts.run("publish_model", "a", later, 60_000)
    assert await jobs.models.list() == [make_card("a")]


async def test_cards_are_offered_until_nobody_renews_them(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    assert await jobs.models.list() == []
    await jobs.models.publish(make_card("b"), 60)
    await jobs.models.publish(make_card("a"), 60)
    await jobs.models.publish(make_card("b", "2"), 60)
    assert await jobs.models.list() == [make_card("a"), make_card("b", "2")]

    await redis.zadd(f"{prefix}:models", {"b": 1})  # its minute is over
    assert await jobs.models.list() == [make_card("a")]
    await jobs.models.publish(make_card("a"), 60)
    assert await redis.hkeys(f"{prefix}:model_cards") == [b"a"]
