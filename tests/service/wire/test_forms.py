"""Nesting rebuilt from field names, in both bracket styles; what cannot be rebuilt is refused."""

import pytest

from schemas.errors import InvalidRequest, TooLarge, Unsupported
from service.wire.forms import PicturePart, parse_multipart, rebuild

TYPE = "multipart/form-data; boundary=b"


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


@pytest.mark.parametrize(
    ("pairs", "tree"),
    [
        ([("prompt", "A car."), ("seed", "7")], {"prompt": "A car.", "seed": "7"}),
        ([("a[b][]", "1"), ("a[b][]", "2")], {"a": {"b": ["1", "2"]}}),
        ([("a[b][1]", "2"), ("a[b][0]", "1")], {"a": {"b": ["1", "2"]}}),
        ([("a[0][b]", "1"), ("a[1][b]", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([("a[0][0]", "x"), ("a[0][1]", "y")], {"a": [["x", "y"]]}),
        ([("a[start]", "0"), ("a[stop]", "5")], {"a": {"start": "0", "stop": "5"}}),
        ([("seed", ""), ("negative_prompt", "")], {"negative_prompt": ""}),
    ],
)
def test_nesting_is_rebuilt(pairs: list[tuple[str, str]], tree: object) -> None:
    assert rebuild(pairs) == tree


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("seed", "1"), ("seed", "2")], "seed: was given twice"),
        ([("a", "1"), ("a[b]", "2")], "a[b]: was also given as a single value"),
        ([("a[b]", "1"), ("a[]", "2")], "another form"),
        ([("a[b", "1")], "brackets do not match"),
        ([("a[][b]", "1")], "number"),
        ([("a[0]", "1"), ("a[2]", "2")], "without gaps"),
        ([("a" + "[b]" * 8, "1")], "deeper than the 8 levels"),
        ([("a[b][]", "1"), ("a[b][0][c]", "1")], "single value"),
    ],
)
def test_what_has_no_one_meaning_is_refused(pairs: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rebuild(pairs)
    assert says in caught.value.message


def test_fields_come_out_of_the_wire_format() -> None:
    body = (
        part("prompt", "Ein Auto fährt.\r\nSchnell.".encode()) + part("seed", b"7") + b"--b--\r\n"
    )
    assert parse_multipart(body, TYPE) == {"prompt": "Ein Auto fährt.\r\nSchnell.", "seed": "7"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (part("prompt", b"\xff\xfe") + b"--b--\r\n", "prompt: is not valid UTF-8"),
        (part("prompt", b"x"), "before its closing boundary"),
        (b"", "before its closing boundary"),
        (b"nonsense", "not valid multipart"),
        (part("", b"x") + b"--b--\r\n", "needs a name"),
        (part("n" * 300, b"x") + b"--b--\r\n", "needs a name"),
        (b"--b\r\nX: " + b"x" * 20_000 + b"\r\n\r\n--b--", "not valid multipart"),
        (b"".join(part(f"a{i}", b"x") for i in range(1001)) + b"--b--\r\n", "more than 1000"),
    ],
)
def test_broken_forms_are_refused(body: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_multipart(body, TYPE)
    assert says in caught.value.message


def test_a_file_is_refused_by_name() -> None:
    body = part("video", b"bytes", '; filename="film.mp4"') + b"--b--\r\n"
    with pytest.raises(Unsupported, match=r"^video: no file is taken here"):
        parse_multipart(body, TYPE)


def test_a_form_without_boundary_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        parse_multipart(b"", "multipart/form-data")


def picture_form(*parts: bytes, max_bytes: int = 1000) -> dict[str, object]:
    picture = PicturePart("input_reference", max_bytes)
    files = {"input_reference": picture}
    fields = parse_multipart(b"".join(parts) + b"--b--\r\n", TYPE, files, 600)
    picture.put_into(fields)
    return fields


def test_a_picture_is_the_data_url_that_json_would_have() -> None:
    file = part("input_reference", b"\x89PNG\r\n", '; filename="a"')
    shown = {"image_url": "data:;base64,iVBORw0K"}
    assert picture_form(part("prompt", b"x"), file) == {"prompt": "x", "input_reference": shown}
    assert picture_form(part("input_reference", b"", '; filename=""')) == {}
    for twice in (file, part("input_reference[image_url]", b"data:,x")):
        with pytest.raises(InvalidRequest, match="given twice"):
            picture_form(file, twice)
    with pytest.raises(TooLarge, match="more bytes than the 5 allowed"):
        picture_form(file, max_bytes=5)


def test_what_is_no_file_has_a_limit() -> None:
    file = part("input_reference", b"x" * 500, '; filename="a"')
    with pytest.raises(TooLarge):
        picture_form(part("prompt", b"x" * 300), file, part("model", b"x" * 300))
