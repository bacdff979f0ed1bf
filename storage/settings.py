"""Where state lives: one Redis by URL, one object store by URL."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_ENDPOINT_SCHEMES = ("http", "https")


class StorageSettings(BaseSettings):
    """Read from ``RETAKE_*`` variables or given by name; frozen; an unknown name is refused."""

    model_config = SettingsConfigDict(env_prefix="RETAKE_", frozen=True, extra="forbid")

    redis_url: str = Field(
        repr=False,  # it may hold a password
        description="Redis or Valkey: `redis://` or `rediss://` with a host, or `unix:///path`. "
        "Not a Redis cluster.",
    )
    object_url: str = Field(
        description="The object store: `file:///absolute/folder` or `s3://bucket/optional/prefix`. "
        "S3 credentials come from boto3's own chain (environment, profile, instance role).",
    )
    s3_endpoint_url: str | None = Field(
        None, description="An S3 endpoint other than AWS, `http://` or `https://`."
    )
    s3_region: str | None = Field(None, description="The bucket's region.")
    public_endpoint_url: str | None = Field(
        None, description="The S3 endpoint as clients reach it, for presigned URLs."
    )
    redis_prefix: str = Field(
        "retake",
        pattern=r"^[a-z0-9_-]{1,32}$",
        description="The first part of every key in Redis. Services that share one Redis need "
        "different ones.",
    )

    redis_timeout_s: float = Field(
        20.0,
        ge=1,
        le=600,
        description="How long one call to Redis may take, with all its tries; then it has failed, "
        "and a request is answered with 503.",
    )
    min_free_bytes: int = Field(
        256 << 20,
        ge=0,
        description="Of an object store in a folder: with less free on its disk, `/readyz` says so "
        "and workers take no job.",
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("redis_url: the scheme must be redis, rediss or unix")
        return url

    @field_validator("object_url")
    @classmethod
    def _object_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        bucket = parts.scheme == "s3" and bool(parts.netloc)
        if not (folder or bucket):
            raise ValueError(
                f"object_url: {url!r} is not allowed; "
                "allowed are file:///absolute/folder and s3://bucket/prefix"
            )
        return url

    @field_validator("s3_endpoint_url", "public_endpoint_url")
    @classmethod
    def _endpoint_scheme(cls, url: Any) -> Any:
        if url is not None and urlsplit(url).scheme not in _ENDPOINT_SCHEMES:
            raise ValueError(f"endpoint {url!r} is not allowed; allowed are http:// and https://")
        return url
