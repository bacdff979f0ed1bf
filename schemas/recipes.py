"""Recipes: everything that decides a video, and the key derived from it."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.attention import StepCache, TransferSpec
from schemas.base import Frozen, Seed, canonical_hash
from schemas.errors import SourceMismatch
from schemas.films.film import Film
from schemas.films.region import EditRegion

PictureFit = Literal["crop", "pad", "stretch"]

KEY_VERSION = 1  # part of every key: raise it when the meaning of a recipe changes


class Picture(Frozen):
    """The picture that a run starts from, which has the video's size.

    ``sha256``: its name, ``pixels_hash``: the same picture in another file has the same. ``fit``:
    how it was brought to the video's size before it was stored.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    fit: PictureFit = "crop"


def pixels_hash(width: int, height: int, pixels: bytes, mode: Literal["RGB", "L"] = "RGB") -> str:
    """SHA-256, hex, of a picture: its size and its pixels, 8 bits each, row by row.

    A mask is grey (``L``): its frames, one below another, or one for all of them.
    """
    digest = hashlib.sha256(f"{mode} {width}x{height}\n".encode())
    digest.update(pixels)
    return digest.hexdigest()


class Generation(Frozen):
    """The settings of one run of the stock pipeline, all resolved.

    ``frame_rate``: ``fps``, where the model is told it; None where it only paces the frames.
    ``picture``: what it starts from; an edit may have another than its source.
    ``guidance_scale_2``: of a model's second expert; None: the model's own, or ``guidance_scale``.
    """

    model: str
    fingerprint: str
    prompt: str
    negative_prompt: str
    seed: Seed
    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    fps: int
    loras: tuple[tuple[str, float], ...] = ()
    step_cache: StepCache | None = None
    frame_rate: int | None = None
    picture: Picture | None = None
    guidance_scale_2: float | None = None

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


# What an edit must share with its source: another value would make the maps meaningless
SHARED = (
    "model",
    "fingerprint",
    "seed",
    "width",
    "height",
    "num_frames",
    "num_inference_steps",
    "loras",
    "frame_rate",
)


class Recipe(Frozen):
    """A generation, or an edit: a generation with the attention of ``source`` put into it.

    ``film``: the run follows an uploaded film, which ``generation.prompt`` describes; its seed then
    is that of the noise between the film's latents and the start. ``region``: of an edit, the part
    of ``source`` that may change; outside it the edit is its source.
    """

    generation: Generation
    film: Film | None = None
    source: "Recipe | None" = None
    transfer: TransferSpec | None = None
    region: EditRegion | None = None

    def key(self, project: str) -> str:
        """The source key: 64 hex digits, the name under which this video's attention is kept.

        Salted by project, so that projects can neither share nor probe one another's artifacts.
        """
        value = {"v": KEY_VERSION, "project": project, "recipe": self.identity()}
        return canonical_hash(value)

    @property
    def is_plain(self) -> bool:
        """Whether a model makes it by itself, of nothing but the generation's settings."""
        return self.source is None and self.film is None

    def identity(self) -> dict[str, object]:
        """What decides the numbers: not ``fps``, which only paces the frames, nor how a picture
        came to be what it is."""
        identity: dict[str, Any] = self.model_dump(
            mode="json", exclude={"generation": {"fps", "picture"}, "source": True}
        )
        # keys of runs without these are older than they are
        if self.generation.frame_rate is None:
            del identity["generation"]["frame_rate"]
        if self.generation.guidance_scale_2 is None:
            del identity["generation"]["guidance_scale_2"]
        if self.generation.step_cache is None:
            del identity["generation"]["step_cache"]
        elif self.generation.step_cache.method == "first_block":
            del identity["generation"]["step_cache"]["method"]
        if self.generation.picture is not None:
            identity["generation"]["picture"] = self.generation.picture.sha256
        transfer = identity["transfer"]
        if transfer is not None and transfer["anchor"] is None:
            del transfer["anchor"]  # the key of an edit the paper's way is older than anchors
        elif transfer is not None and transfer["anchor"]["region"] is None:
            del transfer["anchor"]["region"]  # as is that of an anchored one than regions
        if self.film is None:
            del identity["film"]  # older keys know of none
        if self.region is None:
            del identity["region"]  # nor of these
        elif self.region.word is None:
            del identity["region"]["word"]
        if self.source is not None:
            identity["source"] = self.source.identity()
        return identity

    @property
    def attended_steps(self) -> tuple[int, ...]:
        """The steps in which every layer computes attention: not all if anchored or cached."""
        total = self.generation.num_inference_steps
        if self.transfer is not None and self.transfer.anchor is not None:
            return self.transfer.anchor.computed_steps(total)
        if self.generation.step_cache is not None:
            return self.generation.step_cache.full_steps(total)
        return tuple(range(total))

    def chain(self) -> "list[Recipe]":
        """This recipe and those it was edited from, nearest first."""
        return [self] if self.source is None else [self, *self.source.chain()]

    def pictures(self) -> list[str]:
        """The names of what a replay of the chain starts from, and of its regions' masks, each
        once."""
        found = []
        for each in self.chain():
            picture, region = each.generation.picture, each.region
            found += [picture.sha256] if picture is not None else []
            found += [region.mask] if region is not None and region.mask else []
        return list(dict.fromkeys(found))


def check_same_shot(edit: Generation, source: Generation) -> None:
    """Raise SourceMismatch, naming field and both values, unless ``source`` fits ``edit``."""
    for field in SHARED:
        wanted, had = getattr(edit, field), getattr(source, field)
        if wanted != had:
            param = "fps" if field == "frame_rate" else field
            raise SourceMismatch(
                f"{param}: the edit's {wanted!r} differs from the source's {had!r}; "
                "attention only fits a run with the same settings",
                param=param,
            )


def check_generated(source: Recipe, param: str) -> None:
    """Raise SourceMismatch naming ``param`` unless ``source`` is a plain generation."""
    if source.source is not None or source.film is not None:
        raise SourceMismatch(
            f"{param}: the source is an edit or an upload, not a generation; allowed is null",
            param=param,
        )
