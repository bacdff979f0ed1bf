"""FiVE-Bench's folders: `edit_prompt/editN_FiVE.json`, `images/VIDEO/*`, `bmasks/VIDEO/*`; and a
method's edits under `RESULTS/VIDEO/SAVE_DIR/*`, frame by frame.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # (F, H, W, 3)
Masks = NDArray[np.bool_]  # (F, H, W), True where the edit may change something
KINDS = ("jpg", "jpeg", "png")


class Item(NamedTuple):
    """One edit of the benchmark. ``kind``: of the six, 1 to 6."""

    kind: int
    video: str
    save_dir: str
    source_prompt: str
    target_prompt: str


class Films(NamedTuple):
    source: Pixels
    edit: Pixels
    masks: Masks


def read_items(data: Path) -> list[Item]:
    """All that `edit_prompt/` lists. Raises ValueError for a file that is not of this layout."""
    items = []
    for path in sorted((data / "edit_prompt").glob("edit[1-6]_FiVE.json")):
        for entry in json.loads(path.read_text("utf-8")):
            try:
                items.append(_item(int(path.name[4]), entry))
            except KeyError as error:
                raise ValueError(f"{path.name}: an entry has no {error}") from error
    if not items:
        raise ValueError(f"{data} has no edit_prompt/editN_FiVE.json: it is not of this layout")
    return items


def _item(kind: int, entry: dict[str, str]) -> Item:
    # brackets mark the words that the edit is about
    prompts = [
        entry[name].replace("[", "").replace("]", "") for name in ("source_prompt", "target_prompt")
    ]
    return Item(kind, entry["video_name"], entry["save_dir"], *prompts)


def read_films(data: Path, results: Path, item: Item, stride: int) -> Films | None:
    """Every ``stride``-th frame of source, edit and mask; None where the edit was not made.

    The edit's frames are resized to the source's, as the benchmark does.
    """
    sources = frames_in(data / "images" / item.video)[::stride]
    edits = frames_in(results / item.video / item.save_dir)[::stride]
    if not edits:
        return None
    pairs = list(zip(sources, edits, strict=False))
    first = Image.open(sources[0])
    masks = data / "bmasks" / item.video
    return Films(
        np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in pairs]),
        np.stack(
            [np.asarray(Image.open(path).convert("RGB").resize(first.size)) for _, path in pairs]
        ),
        np.stack([np.asarray(Image.open(masks / path.name).convert("L")) > 0 for path, _ in pairs]),
    )


def frames_in(folder: Path) -> list[Path]:
    return sorted(path for kind in KINDS for path in folder.glob(f"*.{kind}"))


def write_frames(folder: Path, frames: Pixels, *, mask: bool = False) -> None:
    """Numbered from 00001, without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, 1):
        image = Image.fromarray(frame[..., 0], "L") if mask else Image.fromarray(frame)
        image.save(folder / f"{number:05d}.png")
