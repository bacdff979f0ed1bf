"""Pictures that clients send: read within limits, and brought to the size of a video.

What a picture becomes depends on its content alone: 8 bits of sRGB, upright, without transparency.
"""

import base64
import binascii
import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from schemas.errors import InvalidRequest, TooLarge
from schemas.films.upload import PictureInfo
from schemas.recipes import Picture, PictureFit, pixels_hash

NAMES: Mapping[str, Literal["png", "jpeg", "webp"]] = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
FORMATS = tuple(NAMES)
# how files of these begin; of WebP, with four bytes of its length in between
_MAGIC = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)
ALLOWED = "allowed are PNG, JPEG and WebP pictures"
_16_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_LANCZOS = Image.Resampling.LANCZOS


class FittedPicture(NamedTuple):
    """``png``: of exactly the video's size, RGB, with nothing in it but pixels."""

    picture: Picture
    png: bytes


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def looks_like_picture(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (12 bytes at least) is one of these."""
    return _MAGIC.match(head) is not None


def data_of(url: str, max_bytes: int, param: str) -> bytes:
    """The file in a data URL. Raises InvalidRequest, TooLarge."""
    head, comma, payload = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidRequest(
            f"{param}.image_url: {head[:80]!r} is not allowed; allowed is data:image/png;base64,… "
            "and the like",
            param=param,
        )
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            f"{param}.image_url: what follows the comma is not valid base64", param=param
        ) from None
    if len(data) > max_bytes:
        raise TooLarge(f"{param}: {len(data)} bytes; allowed are {max_bytes}", param=param)
    return data


def probe_picture(data: bytes, *, max_pixels: int, param: str) -> PictureInfo:
    """What picture ``data`` is; all of it was decoded. Blocks, and raises as ``fit_picture``."""
    with open_picture(data, max_pixels=max_pixels, param=param) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        kind = NAMES[str(image.format)]
        return PictureInfo(format=kind, width=upright.width, height=upright.height)


def fit_picture(
    data: bytes, width: int, height: int, fit: PictureFit, *, max_pixels: int, param: str
) -> FittedPicture:
    """``data`` as a picture of ``width`` x ``height`` pixels; blocks for as long as that takes.

    Of an animation its first frame; what is transparent becomes white. Raises InvalidRequest for
    what is no picture, is damaged, or has more than ``max_pixels`` pixels.
    """
    with open_picture(data, max_pixels=max_pixels, param=param) as image:
        return _encode(_fit(image, width, height, fit), fit)


@contextlib.contextmanager
def open_picture(data: bytes, *, max_pixels: int, param: str) -> Iterator[Image.Image]:
    """The picture, not decoded yet; whatever fails within is told as the client's error."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise InvalidRequest(
                    f"{param}: {image.width}x{image.height} are {pixels} pixels; allowed are "
                    f"{max_pixels}",
                    param=param,
                )
            yield image
    except InvalidRequest:
        raise
    except Image.DecompressionBombError:
        raise InvalidRequest(
            f"{param}: more pixels than the {max_pixels} allowed", param=param
        ) from None
    except UnidentifiedImageError:
        raise InvalidRequest(
            f"{param}: {len(data)} bytes that are none of those known; {ALLOWED}", param=param
        ) from None
    except Exception:  # whatever a decoder stumbles over, it is in the client's bytes
        raise InvalidRequest(f"{param}: the picture is damaged; {ALLOWED}", param=param) from None


def _fit(image: Image.Image, width: int, height: int, fit: PictureFit) -> Image.Image:
    # a large JPEG is decoded at a fraction of its size, never below twice what is needed
    longest = 2 * max(width, height)
    image.draft(None, (longest, longest))  # None: the mode that it has
    profile = image.info.get("icc_profile")
    upright = _opaque(ImageOps.exif_transpose(image))
    if fit == "crop":
        return _rgb(ImageOps.fit(upright, (width, height), _LANCZOS), profile)
    if fit == "stretch":
        return _rgb(upright.resize((width, height), _LANCZOS), profile)
    scale = min(width / upright.width, height / upright.height)
    inner = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    shown = _rgb(upright.resize(inner, _LANCZOS), profile)
    canvas = Image.new("RGB", (width, height), _BLACK)
    canvas.paste(shown, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _opaque(image: Image.Image) -> Image.Image:
    """Grey, RGB or CMYK of 8 bits, on white where it was transparent."""
    if image.mode in _16_BITS:  # Pillow reads colours of 16 bits as 8, but not grey
        return image.convert("I").point(lambda value: value * (255 / 65535) + 0.5).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        below = Image.new("RGBA", layer.size, _WHITE)
        return Image.alpha_composite(below, layer).convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In sRGB, by the picture's own profile where it has one that fits."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileName(source):
                made = ImageCms.profileToProfile(
                    image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
                assert made is not None  # only in place there is none
                return made
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a picture is shown without a profile that cannot be read
    return image.convert("RGB")


def _encode(image: Image.Image, fit: PictureFit) -> FittedPicture:
    name = pixels_hash(image.width, image.height, image.tobytes())
    plain = Image.frombytes("RGB", image.size, image.tobytes())  # without the file's metadata
    output = io.BytesIO()
    plain.save(output, "PNG")
    return FittedPicture(Picture(sha256=name, fit=fit), output.getvalue())
