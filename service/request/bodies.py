"""Request bodies: read within limits, JSON or multipart, and checked against their schema."""

import asyncio
import json
import re
import tempfile
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from schemas.errors import InvalidRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from schemas.requests import JobOptions
from service.request.app_state import app_state
from service.wire.foreign_fields import translate
from service.wire.forms import parse_multipart, picture_parts
from service.wire.validation import invalid

# A body over the limit is read on and discarded up to here, so that its sender can read our answer
# rather than meet a broken connection.
MAX_DISCARDED_BYTES = 64 << 20
# Of one object; the largest schema has half as many. Each unknown field is an error to format.
MAX_FIELDS = 64
_SLOWEST_BYTES_PER_S = 128 << 10  # of a picture, beyond the time that any body has
_DATA_URL = re.compile(rb'"data:[^"]*"')

Model = TypeVar("Model", bound=BaseModel)


class BodyOf(Generic[Model]):
    """A dependency that yields the body as ``model``.

    JSON is strict (``"7"`` is no integer); a form's strings are turned into the schema's types.
    ``optional``: a missing body stands for ``{}``. ``pictures``: how many of the largest pictures
    it may hold, beside what any body may.
    """

    def __init__(self, model: type[Model], *, optional: bool = False, pictures: int = 0) -> None:
        self.model = model
        self.optional = optional
        self.pictures = pictures

    async def __call__(self, request: Request) -> Model:
        content_type = request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        text_bytes = app_state(request).settings.max_body_bytes
        body = await read_body(request, self.pictures)
        if not body and self.optional:
            return self.validate({}, b"{}", strict=True)
        if kind == "application/json":
            _check_text(body, text_bytes)
            sent = parse_json(body)
            data = self.translated(sent)
            raw = body if data is sent else json.dumps(data).encode()
            return self.validate(data, raw, strict=True)
        if kind == "multipart/form-data":
            names = self.model.model_fields if self.pictures else ()
            files = picture_parts(names, app_state(request).settings.max_picture_bytes)
            sent = parse_multipart(body, content_type, files, text_bytes)
            for file in files.values():
                file.put_into(sent)
            data = self.translated(sent)
            return self.validate(data, json.dumps(data).encode(), strict=False)
        raise UnsupportedMediaType(
            f"content-type: {kind[:80]!r} is not allowed; allowed are application/json and "
            "multipart/form-data"
        )

    def translated(self, data: Any) -> Any:
        return translate(data, self.model) if issubclass(self.model, JobOptions) else data

    def validate(self, data: Any, raw: bytes, *, strict: bool) -> Model:
        try:
            return self.model.model_validate_json(raw, strict=strict)
        except ValidationError as error:
            raise invalid(self.model, error.errors(include_url=False), data) from None


async def read_body(request: Request, pictures: int = 0) -> bytes:
    """The whole body, with room for so many ``pictures`` in base64.

    What is beyond a body of text waits on disk until all is there: refused, it took no memory.
    Raises TooLarge, RequestTimeout, or InvalidRequest if it is cut off.
    """
    settings = app_state(request).settings
    room = pictures * settings.max_picture_bytes * 4 // 3
    limit, timeout_s = settings.max_body_bytes + room, settings.body_timeout_s
    discarded = max(limit, MAX_DISCARDED_BYTES)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > discarded:
        raise _too_large(limit)
    if declared.isdigit() and room:
        timeout_s += int(declared) / _SLOWEST_BYTES_PER_S
    size = 0
    with tempfile.SpooledTemporaryFile(settings.max_body_bytes, prefix="retake-body-") as body:
        try:
            async with asyncio.timeout(timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if settings.max_body_bytes < size <= limit:
                        await asyncio.to_thread(body.write, chunk)
                    elif size <= limit:
                        body.write(chunk)
                    elif size > discarded:
                        break
        except TimeoutError:
            raise RequestTimeout(
                f"the body did not arrive within {timeout_s:.3g} seconds"
            ) from None
        except ClientDisconnect:
            raise InvalidRequest("the body broke off") from None
        if size > limit:
            raise _too_large(limit)
        body.seek(0)
        return body.read()


def _check_text(body: bytes, limit: int) -> None:
    """Raise TooLarge unless all but the pictures in a JSON body is within ``limit``: a number or a
    list of megabytes would take seconds to parse."""
    if len(body) > limit:
        text = len(body) - sum(len(found[0]) for found in _DATA_URL.finditer(body))
        if text > limit:
            raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {limit} bytes allowed")


def parse_json(body: bytes) -> Any:
    """The JSON value; refuses repeated keys, too many of them, NaN, and nesting beyond the parser's
    depth."""
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_refuse_repeats, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise InvalidRequest("the body nests too deep") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except ValueError:  # an integer of thousands of digits
        raise InvalidRequest("the body has a number that is too long") from None


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise InvalidRequest(
            f"the body has an object of {len(pairs)} fields; allowed are {MAX_FIELDS}"
        )
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"{twice[:80]}: was given twice", param=twice[:80])
    return value


def _refuse_constant(name: str) -> Any:
    raise InvalidRequest(f"the body is not valid JSON: {name} is no JSON number")
