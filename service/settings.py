"""Settings of the API process, read once at the entry point from ``RETAKE_*`` variables."""

import re
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.attention import CaptureSpec
from storage.films.reader import FilmLimits
from storage.keys import needs_keys, on_loopback
from storage.settings import StorageSettings

MiB = 1 << 20
Delivery = Literal["redirect", "bytes"]
# An origin as browsers send it: scheme and host in lower case, and a port unless it is the default
ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")


class ServiceSettings(BaseSettings):
    """What the API can be told. Sizes in bytes, times in seconds; 0 switches a limit off."""

    model_config = SettingsConfigDict(
        env_prefix="RETAKE_", frozen=True, extra="ignore", protected_namespaces=()
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0: any free one.")
    auth: Literal["keys", "none"] | None = Field(
        None,
        description="`keys` asks every request for a bearer key. `none` trusts whoever reaches the "
        "socket, and is refused on any address but loopback. Unset: `none` on loopback, `keys` "
        "elsewhere.",
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Pages of which origins (`https://app.example.org`) may call the API from a "
        "browser. `*` is any, and is refused where no keys are asked for.",
    )
    otlp_endpoint: str | None = Field(
        None, description="Where traces are sent, as in `http://collector:4318/v1/traces`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )

    key_cache_s: float = Field(5.0, ge=0, description="How long a revoked key may still work.")
    requests_per_minute: int = Field(
        600,
        ge=0,
        description="Requests a minute for each project without a limit of its own; applied only "
        "where keys are asked for.",
    )
    max_open_jobs: int = Field(
        100,
        ge=0,
        description="Queued and running jobs for each project without a limit of its own; applied "
        "only where keys are asked for.",
    )
    max_stored_bytes: int = Field(
        0,
        ge=0,
        description="Stored bytes for each project without a limit of its own; applied only where "
        "keys are asked for.",
    )
    max_analysis_cost: int = Field(
        2000,
        ge=0,
        description="What one analysis may take, in generations, for each project without a limit "
        "of its own; applied only where keys are asked for.",
    )

    default_model: str | None = Field(
        None,
        description="The model for requests that name none. Unset: the published model, if there "
        "is only one.",
    )
    default_capture: CaptureSpec | Literal["auto", "off"] = Field(
        "auto",
        description="What is captured if a request does not say. `auto`: form `hidden` where that "
        "fits `capture_max_bytes`, else `latents`. `off`: nothing.",
    )
    capture_max_bytes: int = Field(
        2 << 30, ge=0, description="The largest artifact that `auto` makes in form `hidden`."
    )
    retention_s: int = Field(
        30 * 86400,
        ge=0,
        description="How long videos and analyses are kept; 0: until they are deleted.",
    )
    attention_retention_s: int = Field(
        7 * 86400, ge=0, description="How long artifacts are kept; 0: until they are deleted."
    )
    attention_quota_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of artifacts for each project. Over it, the least recently used are "
        "deleted.",
    )
    map_retention_s: int = Field(
        86400,
        ge=0,
        description="How long a picture of an attention map is kept, at most as long as its "
        "artifact.",
    )
    map_retry_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="How long to wait before a picture that failed is tried again.",
    )
    orphan_age_s: float = Field(
        86400.0,
        ge=60,
        description="How old the left-overs of a crash must be before they are deleted.",
    )
    sweep_s: float = Field(60.0, gt=0, description="The time between two rounds of the sweeper.")
    max_edit_chain: int = Field(
        16, ge=1, description="How many recipes a chain may hold: an edit, its source, its source…"
    )
    models_ttl_s: float = Field(
        2.0, ge=0, description="How long a process uses its list of models before reading it again."
    )

    max_upload_bytes: int = Field(
        512 * MiB, ge=1024, description="The largest video that may be uploaded."
    )
    upload_timeout_s: float = Field(
        600.0, gt=0, description="How long an uploaded video may take to arrive."
    )
    upload_retention_s: int = Field(
        7 * 86400,
        ge=0,
        description="How long an upload is kept after its last use; 0: until it is deleted.",
    )
    upload_unfinished_s: int = Field(
        86400,
        ge=1,
        description="How long an upload in pieces is kept after its last piece.",
    )
    films: FilmLimits = Field(FilmLimits(), description="What reading an uploaded video may cost.")
    max_body_bytes: int = Field(MiB, ge=1024, description="The largest request body.")
    max_picture_bytes: int = Field(
        16 * MiB, ge=1024, description="The largest file of a picture that a video starts from."
    )
    max_picture_pixels: int = Field(
        50_000_000, ge=1, description="The most pixels that such a picture may have."
    )
    picture_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that such pictures are fetched from where a request gives their "
        "address; `*` is any, by https alone. Of a host with a private address, its network "
        "(`10.0.0.0/8`) as well.",
    )
    picture_timeout_s: float = Field(
        10.0, gt=0, le=60, description="How long fetching one may take."
    )
    body_timeout_s: float = Field(
        20.0,
        gt=0,
        description="How long a body may take to arrive. One with pictures has more, by "
        "its size: a second for each 128 KiB.",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="How long a request's headers may take to arrive."
    )
    max_header_bytes: int = Field(
        64 << 10, ge=1024, description="The largest request header block."
    )
    max_wait_s: float = Field(60.0, ge=0, description="The longest `?wait=` of a long poll.")
    poll_after_ms: int = Field(
        500, ge=50, description="The polling interval that clients are told, in milliseconds."
    )
    max_followers: int = Field(
        5000, ge=1, description="Event streams and long polls that one process serves at once."
    )
    sse_keep_alive_s: float = Field(
        15.0, gt=0, description="The time between two keep-alive comments of an event stream."
    )

    webhook_allow: tuple[str, ...] = Field(
        (),
        description="Hosts and networks (`10.0.0.0/8`) that webhooks may reach although they are "
        "private.",
    )
    webhook_timeout_s: float = Field(
        10.0, gt=0, le=60, description="How long one delivery may take."
    )
    webhook_backoff_s: tuple[float, ...] = Field(
        (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600),
        description="The wait before each further attempt of a delivery.",
    )

    delivery: Delivery = Field(
        "redirect",
        description="`redirect` sends clients to a presigned URL where the store can make one; "
        "`bytes` sends the content itself.",
    )
    presign_ttl_s: int = Field(
        900, ge=1, le=7 * 86400, description="How long a presigned URL works."
    )

    @model_validator(mode="after")
    def _keys_beyond_loopback(self) -> Self:
        if self.auth == "none" and not self.on_loopback:
            raise ValueError(
                f"auth none with host {self.host}: only a loopback address may serve without keys; "
                "set RETAKE_AUTH=keys and make a key with `retake keys create`"
            )
        return self

    @model_validator(mode="after")
    def _safe_origins(self) -> Self:
        for origin in self.cors_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"cors_origins: {origin!r} is not allowed; allowed are '*' and origins as "
                    "browsers send them, such as https://app.example.org or http://10.0.0.7:3000"
                )
        if "*" in self.cors_origins and not self.needs_keys:
            raise ValueError(
                "cors_origins *: a server without keys would answer every page that a browser on "
                "this machine opens; name the origins, or set RETAKE_AUTH=keys"
            )
        return self

    @cached_property
    def on_loopback(self) -> bool:
        return on_loopback(self.host)

    @cached_property
    def needs_keys(self) -> bool:
        return needs_keys(self.auth, self.host)
