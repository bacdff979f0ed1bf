"""Masks that clients send or describe, as the grey frames that a job keeps: white may change.

Frames lie one below another in one picture; frames that are all alike are kept once. So a mask is
named by what it shows, however it was said.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from schemas.errors import InvalidRequest
from schemas.films.film import Fit, place
from schemas.films.region import Box
from schemas.recipes import pixels_hash
from service.wire.pictures import open_picture

_EDITED = 128  # the least grey that counts as white
Size = tuple[int, int]


class StoredMask(NamedTuple):
    """``name``: by content. ``png``: the frames of the video's size, one or all, black or white."""

    name: str
    png: bytes


def picture_mask(data: bytes, size: Size, fit: Fit, max_pixels: int, param: str) -> bytes:
    """The grey pixels of ``size``, of one picture for all frames: of an animation its first frame,
    what is transparent black. Raises InvalidRequest."""
    with open_picture(data, max_pixels=max_pixels, param=param) as image:
        return _fitted(_grey(image), size, fit).tobytes()


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("L")
    return image.convert("L")


def _fitted(mask: Image.Image, size: Size, fit: Fit) -> Image.Image:
    placed = place(fit, mask.size, size)
    canvas = Image.new("L", size)
    part = mask.resize(placed.size, Image.Resampling.BOX, box=placed.box)
    canvas.paste(part, placed.offset)
    return canvas


def film_mask(rgb: bytes, size: Size, num_frames: int) -> bytes:
    """The grey pixels of a mask video's frames, given as RGB."""
    width, height = size
    return Image.frombytes("RGB", (width, height * num_frames), rgb).convert("L").tobytes()


def box_mask(boxes: Sequence[Box], size: Size, num_frames: int, param: str) -> bytes:
    """The grey pixels of ``num_frames`` frames of ``size``. Raises InvalidRequest for a box that is
    not within them."""
    width, height = size
    canvas = Image.new("L", (width, height * num_frames))
    for number, box in enumerate(boxes):
        where = f"{param}.boxes.{number}"
        first, last = box.frames or (0, num_frames - 1)
        if box.x + box.width > width or box.y + box.height > height:
            raise InvalidRequest(
                f"{where}: {box.width}x{box.height} at {box.x}, {box.y} is not within the video, "
                f"which is {width}x{height} pixels",
                param=where,
            )
        if last >= num_frames:
            raise InvalidRequest(
                f"{where}.frames: {last} is not one of 0 to {num_frames - 1}",
                param=f"{where}.frames",
            )
        for frame in range(first, last + 1):
            top = frame * height + box.y
            canvas.paste(255, (box.x, top, box.x + box.width, top + box.height))
    return canvas.tobytes()


def store_mask(grey: bytes, size: Size, param: str) -> StoredMask:
    """``grey``, one frame or all, as it is kept. Raises InvalidRequest for one without white."""
    width, height = size
    one = width * height
    if all(grey[start : start + one] == grey[:one] for start in range(one, len(grey), one)):
        grey = grey[:one]
    image = Image.frombytes("L", (width, len(grey) // width), grey)
    image = image.point(lambda value: 255 * (value >= _EDITED))
    if image.getbbox() is None:
        raise InvalidRequest(
            f"{param}: the mask is black everywhere, so nothing could change; what is white is "
            "edited",
            param=param,
        )
    output = io.BytesIO()
    image.save(output, "PNG")
    return StoredMask(pixels_hash(*image.size, image.tobytes(), "L"), output.getvalue())
