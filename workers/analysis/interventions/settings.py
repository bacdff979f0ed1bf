"""The settings of a layer sweep: which layers each of its videos takes from the source."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal["plain", "none", "all", "alone", "without", "first", "proposed"]
FIGURES = ("structure", "ssim", "psnr", "change_made")  # then what scorers add
STRUCTURE, CHANGE = FIGURES.index("structure"), FIGURES.index("change_made")


class Setting(NamedTuple):
    """``layers`` that are transferred; ``layer``: the one that it is about, -1 where none is.

    Kind plain is the new prompt's own video; none is the edit without a map, which differs from
    plain if it is anchored.
    """

    kind: Kind
    layers: tuple[int, ...]
    layer: int = -1

    @property
    def label(self) -> str:
        if self.kind == "proposed":
            return "layers " + ", ".join(map(str, self.layers))
        words = {"alone": "layer", "without": "without", "first": "up to"}
        return f"{words[self.kind]} {self.layer}" if self.kind in words else self.kind


def sweep_settings(layers: Sequence[int], *, anchored: bool) -> list[Setting]:
    """The sweep over ``layers``, before anything is proposed: each set of layers once.

    ``anchored``: whether an edit without a map is another video than the plain one.
    """
    every = tuple(layers)
    settings = [Setting("plain", ())]
    settings += [Setting("none", ())] if anchored else []
    settings += [Setting("all", every)]
    if len(every) == 1:
        return settings
    settings += [Setting("alone", (layer,), layer) for layer in every]
    if len(every) > 2:
        settings += [
            Setting("without", tuple(other for other in every if other != layer), layer)
            for layer in every
        ]
    # the first alone, and all but the last, are there already
    settings += [
        Setting("first", every[: count + 1], every[count]) for count in range(1, len(every) - 2)
    ]
    return settings
