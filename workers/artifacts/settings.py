"""What the store of attention may use on one worker."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Frozen
from workers import machine

MiB = 1 << 20
_MOST_BYTES = 4096 * MiB  # what a capture of Wan's every layer was measured with
_MOST_THREADS = 8
Size = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=64)]


class ArtifactSettings(Frozen):
    """Bytes, threads and seconds, for each worker process.

    The defaults are those of a small machine; ``fitted`` raises them on a larger one.
    """

    pool_bytes: Size = Field(
        1024 * MiB,
        description="Memory between the denoising and the store, for all of a capture. Unset: a "
        "16th of the process's share of the memory, 1 to 4 GiB.",
    )
    pack_bytes: Size = Field(16 * MiB, description="The approximate size of one object.")
    frame_bytes: int = Field(
        8 * MiB,
        ge=4096,
        le=128 * MiB,
        description="How much is encoded, checked and decoded as one piece.",
    )
    encode_threads: Threads = Field(
        2,
        description="Threads that encode a capture. Unset: half of the process's share of the "
        "cores, 2 to 8.",
    )
    upload_threads: Threads = Field(
        4,
        description="Threads that upload its packs. Unset: as `encode_threads`, 4 at least.",
    )
    store_patience_s: float = Field(
        60.0, ge=0, description="How long a store that fails is tried again."
    )
    window_bytes: Size = Field(
        1024 * MiB,
        description="Decoded tensors that an edit's reader holds ahead of the denoising. Unset: "
        "as `pool_bytes`, 2 GiB at most.",
    )
    fetch_threads: Threads = Field(4, description="Threads that fetch an edit's packs.")
    decode_threads: Threads = Field(
        2, description="Threads that decode them. Unset: as `encode_threads`."
    )
    device_cache_bytes: int = Field(
        0,
        ge=0,
        description="Tensors kept on the device, beside the model, between the edits of a source: "
        "decoded, or computed again of form `latents`; 0: none.",
    )
    host_cache_bytes: int = Field(
        1024 * MiB,
        ge=0,
        description="Packs kept in host memory after use; 0: none. Unset: as `pool_bytes`.",
    )
    disk_cache_bytes: int = Field(
        0, ge=0, description="Packs kept on a local disk after use; 0: none."
    )
    disk_cache_folder: str | None = Field(
        None, description="The folder of that cache; needed with `disk_cache_bytes`."
    )
    retention_s: int | None = Field(
        None,
        ge=60,
        description="How long an artifact is kept if its job does not say. Unset: for ever.",
    )

    def fitted(self, processes: int) -> Self:
        """With what is not set raised to what this machine has for each of ``processes``."""
        size = max(1024 * MiB, min(machine.memory_bytes() // processes // 16, _MOST_BYTES))
        threads = max(2, min(machine.cores() // processes // 2, _MOST_THREADS))
        fitting = {
            "pool_bytes": size,
            "window_bytes": min(size, _MOST_BYTES // 2),  # as much of it may lie on the device
            "host_cache_bytes": size,
            "encode_threads": threads,
            "decode_threads": threads,
            "upload_threads": max(4, threads),
        }
        unset = fitting.keys() - self.model_fields_set
        return self.model_copy(update={name: fitting[name] for name in unset})

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
