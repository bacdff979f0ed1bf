"""Pictures as clients have them: each comes out right, or is refused in a sentence."""

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms

from schemas.errors import InvalidRequest, RetakeError, TooLarge
from schemas.recipes import PictureFit, pixels_hash
from service.wire.pictures import data_of, fit_picture

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def halves(width: int = 64, height: int = 32) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def fitted(data: bytes, width: int = 64, height: int = 32, fit: PictureFit = "crop") -> Image.Image:
    made = fit_picture(data, width, height, fit, max_pixels=10_000_000, param="input_reference")
    image = Image.open(io.BytesIO(made.png))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (width, height))
    assert made.picture.sha256 == pixels_hash(width, height, image.tobytes())
    assert made.picture.fit == fit
    return image


def refused(data: bytes, max_pixels: int = 10_000_000) -> str:
    with pytest.raises(InvalidRequest) as caught:
        fit_picture(data, 64, 32, "crop", max_pixels=max_pixels, param="input_reference")
    assert caught.value.param == "input_reference"
    return caught.value.message


def near(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    found = image.getpixel(at)
    assert isinstance(found, tuple)
    return all(abs(one - other) <= 8 for one, other in zip(found, colour, strict=True))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95, "subsampling": 0})],
)
def test_each_kind_of_file(kind: str, options: dict[str, Any]) -> None:
    image = fitted(file_of(halves(), kind, **options))
    assert near(image, (4, 16), RED)
    assert near(image, (60, 16), BLUE)


def test_the_same_pixels_have_the_same_name_whatever_the_file() -> None:
    files = [file_of(halves()), file_of(halves(), "WEBP", lossless=True)]
    files.append(file_of(halves().convert("P")))
    names = {fit_picture(f, 64, 32, "crop", max_pixels=9999, param="x").picture for f in files}
    assert len(names) == 1
    other = fit_picture(file_of(halves(), "PNG"), 32, 64, "crop", max_pixels=9999, param="x")
    assert other.picture not in names


def test_exif_turns_it_upright_and_is_not_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    exif[0x010E] = "where it was taken"
    data = file_of(halves(), "JPEG", exif=exif, quality=95)
    image = fitted(data, 32, 64)
    assert near(image, (16, 4), RED)
    assert near(image, (16, 60), BLUE)
    assert not image.getexif()


def test_a_broken_exif_block_turns_nothing() -> None:
    data = file_of(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95)
    assert near(fitted(data), (4, 16), RED)


def test_what_is_transparent_becomes_white() -> None:
    clear = halves().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    assert fitted(file_of(clear)).getcolors() == [(64 * 32, WHITE)]
    half = halves().convert("RGBA")
    half.putalpha(128)
    assert near(fitted(file_of(half, "WEBP", lossless=True)), (4, 16), (255, 127, 127))
    palette = halves().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    index = palette.getpixel((0, 0))
    image = fitted(file_of(palette, transparency=index))
    assert (image.getpixel((4, 16)), image.getpixel((60, 16))) == (WHITE, BLUE)


def png_of_16_bits(kind: int, samples: list[int]) -> bytes:
    """4x4 pixels, all of the same samples, as the PNG specification writes them."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 4
    head = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("kind", "samples", "colour"),
    [
        (0, [0x8080], (128, 128, 128)),
        (0, [0xFFFF], WHITE),
        (2, [0xFFFF, 0x8080, 0], (255, 128, 0)),
        (4, [0x8080, 0xFFFF], (128, 128, 128)),
        (6, [0xFFFF, 0, 0, 0], WHITE),
    ],
)
def test_sixteen_bits(kind: int, samples: list[int], colour: tuple[int, int, int]) -> None:
    assert fitted(png_of_16_bits(kind, samples), 4, 4).getcolors() == [(16, colour)]


def test_grey_and_two_colours() -> None:
    assert near(fitted(file_of(Image.new("L", (64, 32), 90))), (9, 9), (90, 90, 90))
    assert fitted(file_of(Image.new("1", (64, 32), 1))).getcolors() == [(64 * 32, WHITE)]


def test_cmyk() -> None:
    image = fitted(file_of(halves().convert("CMYK"), "JPEG", quality=95))
    assert near(image, (4, 16), RED)
    assert near(image, (60, 16), BLUE)


def test_its_own_colour_profile_is_followed() -> None:
    """LAB's red axis swapped would show: a linear-light sRGB file of grey 55 is sRGB's 128."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = fitted(file_of(halves(), icc_profile=profile))
    assert plain.tobytes() == halves().tobytes()
    assert fitted(file_of(halves(), icc_profile=b"no profile")).tobytes() == halves().tobytes()
    # sRGB's with a straight curve in place of its own, under another name
    straight = _with_straight_curves(profile)
    grey = Image.new("RGB", (64, 32), (55, 55, 55))
    assert near(fitted(file_of(grey, icc_profile=straight)), (9, 9), (128, 128, 128))


def _with_straight_curves(profile: bytes) -> bytes:
    """ICC.1:2022, 7.3 and 10.18: every TRC tag is made a parametric curve of gamma 1."""
    data = bytearray(profile)
    (count,) = struct.unpack_from(">I", data, 128)
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = struct.pack(">4sIHHi", b"para", 0, 0, 0, 1 << 16)
            assert size >= len(curve)
            data[offset : offset + len(curve)] = curve
    return bytes(data).replace("sRGB".encode("utf-16-be"), "line".encode("utf-16-be"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (64, 32), colour) for colour in (BLUE, RED)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert fitted(data).getcolors() == [(64 * 32, BLUE)]


def test_fits() -> None:
    wide = file_of(halves(128, 32))
    assert near(fitted(wide, 32, 32, "crop"), (2, 16), RED)
    padded = fitted(wide, 32, 32, "pad")
    assert [padded.getpixel(at) for at in ((2, 2), (2, 16), (30, 16), (2, 30))] == [
        BLACK, RED, BLUE, BLACK,
    ]  # fmt: skip
    stretched = fitted(wide, 32, 32, "stretch")
    assert [stretched.getpixel(at) for at in ((2, 2), (30, 30))] == [RED, BLUE]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3000, 2000)])
def test_any_shape_fits(size: tuple[int, int], fit: PictureFit) -> None:
    fitted(file_of(Image.new("RGB", size, RED), "JPEG"), 96, 64, fit)


def test_a_bomb_is_not_decoded() -> None:
    """100 MB of pixels in 100 kB: its header is enough to refuse it."""
    image = file_of(Image.new("1", (10_000, 10_000)))
    assert len(image) < 100_000
    assert refused(image, 50_000_000) == (
        "input_reference: 10000x10000 are 100000000 pixels; allowed are 50000000"
    )
    huge = bytearray(png_of_16_bits(2, [0, 0, 0]))
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    assert "pixels" in refused(bytes(huge))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        file_of(halves(), "GIF"),
        file_of(halves(), "TIFF"),
        b"\x00\x00\x00\x20ftypisom" + b"\0" * 64,
    ],
)
def test_other_files_are_refused(data: bytes) -> None:
    assert "allowed are PNG, JPEG and WebP pictures" in refused(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_files_are_refused(kind: str) -> None:
    noise = Image.effect_noise((256, 256), 90).convert("RGB")
    data = file_of(noise, kind)
    assert "allowed are" in refused(data[: len(data) // 2])
    assert "allowed are" in refused(data[:20])


def test_whatever_the_bytes_there_is_an_answer() -> None:
    """Every byte of small files changed in turn: a picture or a refusal, never another error."""
    seen = 0
    for kind in ("PNG", "JPEG", "WEBP"):
        data = file_of(halves(16, 16), kind)
        for place in range(0, len(data), 3):
            broken = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
            try:
                fit_picture(broken, 16, 16, "crop", max_pixels=100_000, param="x")
            except InvalidRequest:
                seen += 1
    assert seen > 20


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("data:image/png,abc", InvalidRequest, "allowed is data:image/png;base64"),
        ("data:image/png;base64", InvalidRequest, "allowed is data:image/png;base64"),
        ("data:image/png;base64,%%%", InvalidRequest, "not valid base64"),
        ("data:image/png;base64,ü", InvalidRequest, "not valid base64"),
        (url(b"x" * 1001), TooLarge, "1001 bytes; allowed are 1000"),
    ],
)
def test_addresses_that_are_refused(address: str, error: type[RetakeError], says: str) -> None:
    with pytest.raises(error) as caught:
        data_of(address, 1000, "input_reference")
    assert says in caught.value.message
    assert caught.value.param == "input_reference"


def test_a_data_url_is_its_bytes_whatever_type_it_claims() -> None:
    for kind in ("image/png", "image/webp", "", "IMAGE/PNG;name=a"):
        assert data_of(url(b"bytes", kind), 1000, "x") == b"bytes"
