"""Settings of the workers' side, read once at the entry point from ``RETAKE_*`` variables."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.settings import StorageSettings
from workers.artifacts.settings import ArtifactSettings
from workers.media_settings import MediaSettings
from workers.model_settings import ModelSettings

BUNDLED = ModelSettings(
    id="scenes", path=str(Path(__file__).parent.parent / "models" / "scenes"), dtype="float32"
)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1024)]


class WorkerSettings(BaseSettings):
    """What the workers may be told. Sizes in bytes, times in seconds.

    ``models``: what each replica serves, as a JSON list; the bundled model if unset. One that does
    not load is left out, with the reason in the log.
    ``model_memory_bytes``: how many bytes of weights a replica's process keeps loaded; past it, the
    models not used for longest are let go, and loaded again when a job wants them. Unset: all.
    ``replicas``, ``max_replicas``: VideoWorkers at least and at most; between them, as many as
    there is work for. ``num_gpus``, ``num_cpus``: of each of its processes, as Ray counts them (it
    does not bind). A replica has as many processes as the models' ``ranks`` say.
    ``rank_timeout_s``: how long one of them waits for another before the job is given up.
    ``threads``: torch's, per process; unset: the machine's cores shared among all.
    ``dispatchers``: two where one machine may be lost, else one is enough.
    ``lease_s``: after how long a silent worker's job is another's. ``stall_timeout_s``: after how
    long without a step a job counts as hung; it covers loading, encoding and decoding.
    ``longest_job_s``: how long a rollout lets a running job go on. ``drain_timeout_s``: how long
    a stop does; then the job is handed back. ``storage_patience_s``: how long a finished film
    waits for a store that fails.
    ``journal_after_s``: a job that has run for so long is written down as it goes, so that another
    worker can go on from there; shorter ones are sooner run again.
    ``upscale_delay_s``, ``downscale_delay_s``: how long work must wait, or replicas be idle,
    before their number changes.
    """

    model_config = SettingsConfigDict(
        env_prefix="RETAKE_", frozen=True, extra="ignore", protected_namespaces=()
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)
    models: Annotated[tuple[ModelSettings, ...], Field(min_length=1)] = (BUNDLED,)
    artifacts: ArtifactSettings = ArtifactSettings()
    media: MediaSettings = MediaSettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    replicas: Count = 1
    max_replicas: Count | None = None
    dispatchers: Count = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    num_cpus: Annotated[float, Field(ge=0)] = 0
    threads: Count | None = None
    model_memory_bytes: Annotated[int, Field(gt=0)] | None = None

    max_attempts: Count = 3
    lease_s: Seconds = 15
    stall_timeout_s: Seconds = 900
    rank_timeout_s: Seconds = 300
    longest_job_s: Seconds = 3600
    drain_timeout_s: Seconds = 30
    journal_after_s: Seconds = 60
    storage_patience_s: Seconds = 120
    upscale_delay_s: Seconds = 10
    downscale_delay_s: Seconds = 300

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} is less than replicas {self.replicas}"
            )
        ids = [model.id for model in self.models]
        if len(set(ids)) < len(ids):
            raise ValueError(f"models: the ids {ids} are not distinct")
        for model in self.models:
            if model.ranks not in (1, self.ranks):
                raise ValueError(
                    f"models: {model.id!r} has ranks {model.ranks}; allowed beside a model of "
                    f"{self.ranks} is 1 or {self.ranks}"
                )
        return self

    @property
    def ranks(self) -> int:
        """Processes of a replica: what its models are spread over; the others run on the first."""
        return max(model.ranks for model in self.models)

    @property
    def most_replicas(self) -> int:
        return self.max_replicas or self.replicas
