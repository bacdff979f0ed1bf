"""Settings of the API process, read once at the entry point from ``RETAKE_*`` variables."""

import ipaddress
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.attention import CaptureSpec
from storage.settings import StorageSettings

MiB = 1 << 20


class ServiceSettings(BaseSettings):
    """What the API may be told. Sizes in bytes, times in seconds; 0 switches a limit off.

    ``auth``: ``keys`` asks every request for a bearer key; ``none`` trusts whoever reaches the
    socket and is refused for any address but loopback. Unset: ``none`` on loopback, else ``keys``.
    ``otlp_endpoint``: where traces go, as in ``http://collector:4318/v1/traces``.
    ``key_cache_s``: how long a revoked key may still work.
    ``requests_per_minute``, ``max_open_jobs``, ``max_stored_bytes``: of each project that has no
    limits of its own; only where keys are asked for.
    ``default_model``: for requests that name none; unset, the only one that is published.
    ``default_capture``: for requests that leave it open; ``auto`` is form hidden where that fits
    ``capture_max_bytes``, else latents.
    ``retention_s``, ``attention_retention_s``: how long videos and artifacts are kept; 0: until
    they are deleted. ``attention_quota_bytes``: of each project's artifacts, the least used of
    which go first. ``map_retention_s``: how long a picture of an attention map is kept, at most as
    long as its artifact; ``map_retry_s``: how long one that failed is not tried again.
    ``orphan_age_s``: how old a crash's left-overs are before they are removed.
    ``max_followers``: event streams and long polls that one process serves at once.
    ``delivery``: ``redirect`` sends clients to a presigned URL where the store can make one.
    ``webhook_backoff_s``: the wait before each further attempt of a delivery.
    ``webhook_allow``: hosts and networks (``10.0.0.0/8``) that webhooks may reach although private.
    """

    model_config = SettingsConfigDict(
        env_prefix="RETAKE_", frozen=True, extra="ignore", protected_namespaces=()
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    auth: Literal["keys", "none"] | None = None
    otlp_endpoint: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    key_cache_s: Annotated[float, Field(ge=0)] = 5.0
    requests_per_minute: Annotated[int, Field(ge=0)] = 600
    max_open_jobs: Annotated[int, Field(ge=0)] = 100
    max_stored_bytes: Annotated[int, Field(ge=0)] = 0

    default_model: str | None = None
    default_capture: CaptureSpec | Literal["auto", "off"] = "auto"
    capture_max_bytes: Annotated[int, Field(ge=0)] = 2 << 30
    retention_s: Annotated[int, Field(ge=0)] = 30 * 86400
    attention_retention_s: Annotated[int, Field(ge=0)] = 7 * 86400
    attention_quota_bytes: Annotated[int, Field(ge=0)] = 0
    map_retention_s: Annotated[int, Field(ge=0)] = 86400
    map_retry_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    orphan_age_s: Annotated[float, Field(ge=60)] = 86400.0
    sweep_s: Annotated[float, Field(gt=0)] = 60.0
    max_edit_chain: Annotated[int, Field(ge=1)] = 16
    models_ttl_s: Annotated[float, Field(ge=0)] = 2.0

    max_body_bytes: Annotated[int, Field(ge=1024)] = MiB
    body_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    header_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    max_header_bytes: Annotated[int, Field(ge=1024)] = 64 << 10
    max_wait_s: Annotated[float, Field(ge=0)] = 60.0
    poll_after_ms: Annotated[int, Field(ge=50)] = 500
    max_followers: Annotated[int, Field(ge=1)] = 5000
    sse_keep_alive_s: Annotated[float, Field(gt=0)] = 15.0

    webhook_allow: tuple[str, ...] = ()
    webhook_timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    webhook_backoff_s: tuple[float, ...] = (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600)

    delivery: Literal["redirect", "bytes"] = "redirect"
    presign_ttl_s: Annotated[int, Field(ge=1, le=7 * 86400)] = 900

    @model_validator(mode="after")
    def _keys_beyond_loopback(self) -> Self:
        if self.auth == "none" and not self.on_loopback:
            raise ValueError(
                f"auth none with host {self.host}: only a loopback address may serve without keys; "
                "set RETAKE_AUTH=keys and make a key with `retake keys create`"
            )
        return self

    @cached_property
    def on_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def needs_keys(self) -> bool:
        return self.auth == "keys" or (self.auth is None and not self.on_loopback)
