"""The peer that ``bench.api`` measures against: a FastAPI route that reads one Redis hash, and
nothing else. Run as ``python -m bench.bare_api REDIS_URL KEY PORT``."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis


def create_app(redis_url: str, key: str) -> FastAPI:
    redis = Redis.from_url(redis_url, decode_responses=True)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/videos/{video_id}")
    async def get_video(video_id: str) -> Any:
        found: Any = await redis.hgetall(key + video_id)
        return found

    return app


if __name__ == "__main__":
    app = create_app(sys.argv[1], sys.argv[2])
    uvicorn.run(app, port=int(sys.argv[3]), access_log=False, log_level="warning")
