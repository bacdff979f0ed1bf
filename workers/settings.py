"""Settings of the workers' side, read once at the entry point from ``RETAKE_*`` variables."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.films.reader import FilmLimits
from storage.settings import StorageSettings
from workers import machine
from workers.artifacts.settings import ArtifactSettings
from workers.media_settings import MediaSettings
from workers.model_settings import ModelSettings

HERE = Path(__file__).parent
INSTALLED = HERE / "bundled" / "scenes"  # where setup.py puts it
CHECKED_OUT = HERE.parent / "models" / "scenes"
BUNDLED = ModelSettings(
    id="scenes", path=str(INSTALLED if INSTALLED.is_dir() else CHECKED_OUT), dtype="float32"
)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1024)]


class WorkerSettings(BaseSettings):
    """What the workers can be told. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="RETAKE_", frozen=True, extra="ignore", protected_namespaces=()
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)
    models: tuple[ModelSettings, ...] = Field(
        (BUNDLED,),
        min_length=1,
        description="What each replica serves. A model that does not load is left out, with the "
        "reason in the log. Unset: the bundled model.",
    )
    artifacts: ArtifactSettings = Field(
        ArtifactSettings(), description="Memory, threads and caches for stored attention."
    )
    films: FilmLimits = Field(FilmLimits(), description="What reading an uploaded video may cost.")
    media: MediaSettings = Field(MediaSettings(), description="How video files are written.")
    text_agreement_model: str | None = Field(
        None,
        description="A folder of a CLIP model, as transformers saves one with its processor. With "
        "it, `metrics` of edits have `text_agreement`; each replica holds it. Unset: they do not.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )

    replicas: Count = Field(1, description="The least number of VideoWorkers.")
    max_replicas: Count | None = Field(
        None,
        description="The largest number of VideoWorkers; between the two, as many as there is work "
        "for. Unset: the same as `RETAKE_REPLICAS`.",
    )
    dispatchers: Count = Field(
        1, description="Dispatchers. Use two where a machine may be lost; otherwise one is enough."
    )
    num_gpus: float = Field(
        0,
        ge=0,
        description="GPUs for each process of a replica, as Ray counts them. A replica has as many "
        "processes as its models' `ranks`.",
    )
    num_cpus: float = Field(
        0,
        ge=0,
        description="CPUs for each process of a replica, as Ray counts them; Ray does not bind "
        "processes to cores.",
    )
    threads: Count | None = Field(
        None,
        description="torch's threads for each process. Unset: those on a machine share its cores.",
    )
    model_memory_bytes: int | None = Field(
        None,
        gt=0,
        description="Bytes of weights that a replica's process keeps loaded. Over it, the least "
        "recently used models are unloaded, and loaded again when a job needs them. Unset: no "
        "limit.",
    )

    generation: int = Field(
        0,
        ge=0,
        description="Of these workers, where others share the Redis for the time of an upgrade: "
        "once a worker of a higher one has loaded its models, those of a lower one take no more "
        "jobs.",
    )
    max_attempts: Count = Field(3, description="How many attempts a job has before it is given up.")
    lease_s: Seconds = Field(15, description="After how long a silent worker loses its job.")
    stall_timeout_s: Seconds = Field(
        900,
        description="After how long without a step a job counts as hung. It must cover loading a "
        "model, encoding and decoding.",
    )
    rank_timeout_s: Seconds = Field(
        300, description="How long one rank waits for another before the attempt is given up."
    )
    longest_job_s: Seconds = Field(
        3600, description="How long a rollout lets a running job continue."
    )
    drain_timeout_s: Seconds = Field(
        30,
        description="How long a stop may take. A running job continues for all of it but the last "
        "10 s, at most half of it; then it is handed back at its next step.",
    )
    journal_after_s: Seconds = Field(
        60,
        description="After how long a running job starts its journal, from which another worker "
        "can resume it. Shorter jobs are cheaper to run again.",
    )
    storage_patience_s: Seconds = Field(
        900,
        description="How long a finished video waits for a store that fails, before its job is "
        "handed back. Other jobs could not be stored either.",
    )
    upscale_delay_s: Seconds = Field(
        10, description="How long work must wait before a replica is added."
    )
    downscale_delay_s: Seconds = Field(
        300, description="How long replicas must be idle before one is removed."
    )

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

    def processes_here(self) -> int:
        """How many processes of replicas share this machine at most."""
        processes = self.most_replicas * self.ranks
        if self.num_gpus and machine.gpus():  # replicas may be spread over machines
            processes = min(processes, int(machine.gpus() / self.num_gpus))
        return max(1, processes)
