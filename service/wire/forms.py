"""Multipart bodies: their fields, and the nested object that the fields' names describe.

The OpenAI SDK flattens ``{"transfer": {"layers": [3]}}`` to ``transfer[layers][]=3``; other clients
number the items, ``transfer[layers][0]=3``, or send a whole object as JSON. All other values are
strings; the schema converts them.
Wire format: RFC 7578.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from schemas.errors import InvalidRequest, TooLarge, Unsupported

MAX_FIELDS = 1000
MAX_DEPTH = 8
MAX_NAME_BYTES = 256
PICTURE, REGION = "input_reference", "region"  # fields that may be files
TEXT_FIELDS = frozenset(
    {"prompt", "negative_prompt", "source_prompt"}
)  # in these "" is a value; in others it means that the field is absent
NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")

Tree = dict[str, Any]


class FilePart(Protocol):
    """Where the bytes of a form's file go."""

    def begin(self, filename: str) -> None: ...

    def write(self, data: bytes) -> None: ...


def parse_multipart(
    body: bytes,
    content_type: str,
    files: Mapping[str, FilePart] | None = None,
    max_bytes: int | None = None,
) -> Tree:
    """The body as one nested object of strings; raises as ``Form`` does, whose ``files`` and
    ``max_bytes`` are these."""
    form = Form(content_type, files, max_bytes)
    form.feed(body)
    return form.end()


class PicturePart:
    """The file of field ``name`` in a form: the data URL that JSON would have, once the form is
    read.

    ``max_bytes``: of the file; TooLarge above it.
    """

    def __init__(self, name: str, max_bytes: int) -> None:
        self._name, self._max_bytes, self._data = name, max_bytes, bytearray()
        self._given = 0

    def begin(self, filename: str) -> None:
        self._given += 1

    def write(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._max_bytes:
            raise TooLarge(
                f"{self._name}: more bytes than the {self._max_bytes} allowed", param=self._name
            )

    def put_into(self, fields: Tree) -> None:
        """Into the form's other ``fields``, beside what they say of it; a page's form sends an
        empty file where none was chosen. Raises InvalidRequest if there are two."""
        if not self._data:
            return
        beside = fields.get(self._name, {})
        if self._given > 1 or not isinstance(beside, dict) or "image_url" in beside:
            raise InvalidRequest(f"{self._name}: was given twice", param=self._name)
        encoded = base64.b64encode(self._data).decode("ascii")
        fields[self._name] = {**beside, "image_url": f"data:;base64,{encoded}"}


def picture_parts(names: Iterable[str], max_bytes: int) -> dict[str, PicturePart]:
    """The fields of a body with such ``names`` that may be files, each of up to ``max_bytes``."""
    files = [name for name in (PICTURE, REGION) if name in names]
    return {name: PicturePart(name, max_bytes) for name in files}


class Form:
    """A multipart body, given piece by piece. Every method raises InvalidRequest.

    ``files``: the fields that may be files, and where their bytes go; a file in any other field is
    refused. ``max_bytes``: of all that is no file.
    """

    def __init__(
        self,
        content_type: str,
        files: Mapping[str, FilePart] | None = None,
        max_bytes: int | None = None,
    ) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidRequest("content-type: multipart/form-data needs a boundary")
        self._fields = _Fields(files or {})
        self._max_bytes, self._fed = max_bytes, 0
        try:
            self._parser = MultipartParser(boundary, self._fields.callbacks())
        except FormParserError:
            raise InvalidRequest("the body is not valid multipart/form-data") from None

    def feed(self, data: bytes) -> None:
        """Parse the next piece. Raises TooLarge as well, and what ``files`` raise."""
        self._fed += len(data)
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequest("the body is not valid multipart/form-data") from None
        beside = self._fed - self._fields.file_bytes
        if self._max_bytes is not None and beside > self._max_bytes:
            raise TooLarge(f"the form's fields are larger than the {self._max_bytes} bytes allowed")

    def end(self) -> Tree:
        """The fields as one nested object of strings, once all is fed."""
        try:
            self._parser.finalize()
        except FormParserError:
            raise InvalidRequest("the body is not valid multipart/form-data") from None
        if not self._fields.ended:
            raise InvalidRequest("the multipart body ends before its closing boundary")
        return rebuild(self._fields.pairs)


class _Fields:
    """Collects (name, value) pairs from the parser's callbacks; refuses files that are not
    expected, and bad text."""

    def __init__(self, files: Mapping[str, FilePart]) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.ended = False
        self.file_bytes = 0
        self._files = files
        self._file: FilePart | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._value = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        options = parse_options_header(disposition.decode("latin-1"))[1]
        name = _text(options.get(b"name", b""), "a field's name")
        if not name or len(name) > MAX_NAME_BYTES:
            raise InvalidRequest(
                f"a multipart field needs a name of 1 to {MAX_NAME_BYTES} characters"
            )
        self._file = None
        if b"filename" in options:
            self._file = self._file_of(name)
            self._file.begin(_text(options[b"filename"], "a file's name"))
            return
        if len(self.pairs) >= MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields")
        self._name = name
        self._value.clear()

    def _file_of(self, name: str) -> FilePart:
        if name not in self._files:
            raise Unsupported(
                f"{name}: no file is taken here; a video is uploaded by POST /v1/uploads, or as "
                "`video` of POST /v1/videos/edits",
                param=name[:80],
            )
        return self._files[name]

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self.file_bytes += end - start
            self._file.write(data[start:end])
        else:
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        if self._file is not None:
            return
        self.pairs.append((self._name, _text(bytes(self._value), self._name)))

    def _on_end(self) -> None:
        self.ended = True


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what}: is not valid UTF-8", param=None) from None


def rebuild(pairs: list[tuple[str, str]]) -> Tree:
    """``[("a[b][]", "1"), ("a[b][]", "2")]`` becomes ``{"a": {"b": ["1", "2"]}}``.

    An empty value means that the field was not given, except in ``TEXT_FIELDS``.
    """
    tree: Tree = {}
    for name, value in pairs:
        keys = _keys(name)
        if value or keys[-1] in TEXT_FIELDS:
            _insert(tree, keys, _nested_json(keys, value), name)
    return {key: _lists_of(node, key) for key, node in tree.items()}


def _nested_json(keys: list[str], value: str) -> Any:
    """``value``, or the object or list that it is as JSON: some clients send ``video={"id": …}``.

    Never of a prompt, which may well begin with a bracket.
    """
    if keys[-1] in TEXT_FIELDS or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value  # refused by the schema, which says what is allowed


def _keys(name: str) -> list[str]:
    match = NAME.fullmatch(name)
    if match is None:
        raise InvalidRequest(f"{name!r} is not a field name: brackets do not match")
    keys = [match[1], *match[2][1:-1].split("][")] if match[2] else [match[1]]
    if len(keys) > MAX_DEPTH:
        raise InvalidRequest(f"{name[:80]!r} nests deeper than the {MAX_DEPTH} levels allowed")
    if "" in keys[:-1]:
        raise InvalidRequest(
            f"{name!r}: items that are objects or lists need their number, as in a[0][b], or JSON"
        )
    return keys


def _insert(tree: Tree, keys: list[str], value: Any, name: str) -> None:
    *path, last = keys[:-1] if keys[-1] == "" else keys
    for key in path:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise InvalidRequest(f"{name}: was also given as a single value", param=name)
    if keys[-1] != "":
        if last in tree:
            raise InvalidRequest(f"{name}: was given twice", param=name)
        tree[last] = value
        return
    items = tree.setdefault(last, [])
    if not isinstance(items, list):
        raise InvalidRequest(f"{name}: was also given in another form", param=name)
    items.append(value)


def _lists_of(node: Any, name: str) -> Any:
    """``node`` with lists in place of objects whose keys are 0, 1, 2, …, at every level."""
    if not isinstance(node, dict):
        return node
    if not all(key.isascii() and key.isdigit() for key in node):
        return {key: _lists_of(child, f"{name}.{key}") for key, child in node.items()}
    if set(node) != {str(index) for index in range(len(node))}:
        raise InvalidRequest(f"{name}: items must be numbered from 0 without gaps", param=name)
    return [_lists_of(node[str(index)], f"{name}.{index}") for index in range(len(node))]
