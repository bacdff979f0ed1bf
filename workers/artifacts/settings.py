"""What the store of attention may use on one worker."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Frozen

MiB = 1 << 20
Size = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=64)]


class ArtifactSettings(Frozen):
    """Bytes and threads, per worker process.

    ``pool_bytes``: between denoising and store, for all of a capture. ``pack_bytes``: an object's
    size, about; ``frame_bytes``: what is encoded, checked and decoded at once.
    ``store_patience_s``: how long a store that fails is tried again.
    ``window_bytes``: decoded tensors that an edit's reader holds ahead of the denoising.
    ``retention_s``: how long an artifact is kept whose request did not say; None: for good.
    ``device_cache_bytes``: decoded tensors kept on the device between the edits of a source, beside
    the model; ``host_cache_bytes``, ``disk_cache_bytes``: packs kept after use. 0 keeps none.
    """

    pool_bytes: Size = 1024 * MiB
    pack_bytes: Size = 16 * MiB
    frame_bytes: Annotated[int, Field(ge=4096, le=128 * MiB)] = 8 * MiB
    encode_threads: Threads = 2
    upload_threads: Threads = 4
    store_patience_s: Annotated[float, Field(ge=0)] = 60.0
    window_bytes: Size = 1024 * MiB
    fetch_threads: Threads = 4
    decode_threads: Threads = 2
    device_cache_bytes: Annotated[int, Field(ge=0)] = 0
    host_cache_bytes: Annotated[int, Field(ge=0)] = 1024 * MiB
    disk_cache_bytes: Annotated[int, Field(ge=0)] = 0
    disk_cache_folder: str | None = None
    retention_s: Annotated[int, Field(ge=60)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # two branches' packs stay open while they fill: without room beside them a capture stops
        if self.pool_bytes < 4 * (self.pack_bytes + self.frame_bytes):
            raise ValueError(
                f"pool_bytes {self.pool_bytes} must be at least 4 * (pack_bytes + frame_bytes) = "
                f"{4 * (self.pack_bytes + self.frame_bytes)}"
            )
        if self.disk_cache_bytes and not self.disk_cache_folder:
            raise ValueError("disk_cache_bytes needs disk_cache_folder")
        return self
