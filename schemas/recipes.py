"""Recipes: everything that decides a video, and the key derived from it."""

from schemas.attention import TransferSpec
from schemas.base import Frozen, Seed, canonical_hash
from schemas.errors import SourceMismatch

KEY_VERSION = 1  # part of every key: raise it when the meaning of a recipe changes


class Generation(Frozen):
    """The settings of one run of the stock pipeline, all resolved."""

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
)


class Recipe(Frozen):
    """A generation, or an edit: a generation with the attention of ``source`` put into it."""

    generation: Generation
    source: "Recipe | None" = None
    transfer: TransferSpec | None = None

    def key(self, project: str) -> str:
        """The source key: 64 hex digits, the name under which this video's attention is kept.

        Salted by project, so that projects can neither share nor probe one another's artifacts.
        """
        value = {"v": KEY_VERSION, "project": project, "recipe": self.identity()}
        return canonical_hash(value)

    def identity(self) -> dict[str, object]:
        """What decides the numbers: all but ``fps``, which only paces the frames."""
        identity = self.model_dump(mode="json", exclude={"generation": {"fps"}, "source": True})
        transfer = identity["transfer"]
        if transfer is not None and transfer["anchor"] is None:
            del transfer["anchor"]  # the key of an edit the paper's way is older than anchors
        if self.source is not None:
            identity["source"] = self.source.identity()
        return identity

    def chain(self) -> "list[Recipe]":
        """This recipe and those it was edited from, nearest first."""
        return [self] if self.source is None else [self, *self.source.chain()]


def check_same_shot(edit: Generation, source: Generation) -> None:
    """Raise SourceMismatch, naming field and both values, unless ``source`` fits ``edit``."""
    for field in SHARED:
        wanted, had = getattr(edit, field), getattr(source, field)
        if wanted != had:
            raise SourceMismatch(
                f"{field}: the edit's {wanted!r} differs from the source's {had!r}; "
                "attention only fits a run with the same settings",
                param=field,
            )
