"""Bytes to a request, or to exactly the 400 that vLLM gives for them.

The order is vLLM's: content type, JSON, the checks that look at raw fields (`before`), then the types of all
fields. A body that msgspec takes as it is never meets pydantic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError

from simulator.config.compat import Compat
from simulator.server.errors import ApiError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_decode = msgspec.json.Decoder().decode
_SHOWN = 10  # errors printed one by one
_MOST_FIELDS = 100  # of a request: more than any route knows
# What msgspec raises for a body that it does not take; not all of it is its own.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
MAX_DEPTH = 200  # levels of objects and lists
MAX_LISTS = 10_000  # lists and objects
MAX_STRINGS = 100_000  # keys included
MAX_VALUES = 500_000  # of a body that is plain as it stands: ids, almost all of them
_MAX_VALUES_READ = 50_000  # of what has to be looked at value by value
_SHORT = 2 * MAX_LISTS  # bytes that cannot hold too many of anything
_MAX_TEXT = 4 << 20  # characters of JSON inside a string
_FEW = 1000  # errors that are told without a second thought
_PIECE = 1 << 18  # bytes looked at at once
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{},"')
_MAX_INPUT = 200  # characters of an offending scalar repeated in the message
_MAX_ERROR = 1000  # characters of one error
_CUT = "...[truncated]"
# Parts of a location that name a wrapper or a branch of a union of built-in types: not in vLLM's paths.
_UNNAMED = re.compile(
    r"[\[\](){}]|^(function-(wrap|after|before|plain)|json-or-python|lax-or-strict|chain|default|nullable"
    r"|(tagged-)?union|call|arguments|is-(instance|subclass)|callable|str|int|float|bool|bytes|bytearray|list"
    r"|tuple|dict|set|frozenset|complex|none|nonetype)$|^constrained-",
    re.IGNORECASE,
)
_UNSUPPORTED = "Unsupported Media Type: Only 'application/json' is allowed"


def check_content_type(value: bytes | None) -> None:
    """vLLM's own rule, for --strict-content-type; raises ApiError."""
    media_type = (value or b"").split(b";", 1)[0].strip().lower()
    if media_type != b"application/json":
        raise ApiError(f"1 validation error:\n  {_UNSUPPORTED}", 400, "Bad Request")


def check_shape(text: bytes, most: int = _MAX_VALUES_READ) -> None:
    """Refuse JSON that would keep its readers longer than others can wait: nested deeper than what encoders,
    templates and pydantic follow, of too many lists, or of more than `most` values; raises ApiError.

    One look at the bytes, before anything is decoded, and no further than to where there is too much: no
    reader further in has to count. Most bodies are short and have so few brackets that this is all.
    """
    if len(text) < _SHORT and text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    values, strings, inside, brackets = 1, 0, False, b""
    for piece in _pieces(text):
        structure = piece.translate(None, _NO_STRUCTURE)
        if not structure:
            continue
        parts = structure.split(b'"')
        strings += len(parts) // 2
        structure = b"".join(parts[inside::2])  # what stands in no string
        inside ^= len(parts) % 2 == 0
        values += structure.count(b",")
        brackets += structure.translate(_ONE_KIND, b",")
        _check_count(values, most, "values")
        _check_count(brackets.count(b"["), MAX_LISTS, "lists and objects")
        _check_count(strings, MAX_STRINGS, "strings")
    if len(brackets) <= MAX_DEPTH:
        return
    for _ in range(MAX_DEPTH):  # each round takes exactly the innermost level away
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == before:  # what is left are brackets without a partner, if any
            break
    if len(brackets) > MAX_DEPTH or b"[]" in brackets:
        raise _unreadable(f"it is nested more than {MAX_DEPTH} levels deep")


def _check_count(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise _unreadable(f"it holds more than {limit} {what}")


def _pieces(text: bytes) -> Iterator[bytes]:
    """`text` in pieces, without what is escaped in it."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        while text[end - 1 : end] == b"\\":
            end += 1
        piece = text[start:end]
        start = end
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        yield piece


def _unreadable(why: object) -> ApiError:
    return ApiError(f"There was an error parsing the body: {why}", 400, "Bad Request")


def parse_text(text: str, what: str) -> Any:
    """JSON that stands in a string of a request, with the limits of a body; raises ApiError naming `what`."""
    if len(text) > _MAX_TEXT:
        raise ApiError(f"{what} has {len(text)} characters, and no more than {_MAX_TEXT} are read.")
    check_shape(text.encode("utf-8", "replace"))
    try:
        value = json.loads(text)
        _check_text(value)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"{what} is not valid JSON: {str(error)[:_MAX_INPUT]}") from None
    return value


def _check_text(value: Any) -> None:
    """Raises UnicodeError for half a surrogate pair, which is no text."""
    json.dumps(value, ensure_ascii=False).encode()


def parse_object(body: bytes, compat: Compat) -> dict[str, Any]:
    """The JSON object that a body is; raises ApiError for anything else, and for more than is looked at."""
    if len(body) >= 2 * _MAX_VALUES_READ:  # it may hold as many
        check_shape(body)
    try:
        value = _decode(body)
    except UNREADABLE:
        value = _parse_leniently(body, compat)
    if isinstance(value, dict):
        return value
    if value is None:
        raise from_errors(
            [{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}], compat
        )
    message = "Input should be a valid dictionary or object to extract fields from"
    raise from_errors(
        [{"type": "model_attributes_type", "loc": ("body",), "msg": message, "input": value}], compat
    )


def _parse_leniently(body: bytes, compat: Compat) -> Any:
    """As Python's json module reads it (it takes NaN, for one), or its complaint."""
    if not body:
        if compat.validation_errors == "go":
            raise go_parse_error("unexpected end of JSON input", compat)
        return None
    try:
        value = json.loads(body)
        _check_text(value)
        return value
    except json.JSONDecodeError as error:
        if compat.validation_errors == "go":
            raise go_parse_error(f"invalid JSON at offset {error.pos}: {error.msg}", compat) from None
        found = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise from_errors([found], compat) from None
    except (ValueError, RecursionError) as error:  # no UTF-8, half a surrogate pair, integers beyond Python's
        raise _unreadable(error) from None


def go_parse_error(message: str, compat: Compat) -> ApiError:
    """llm-d-inference-sim's answer to a body that it cannot read."""
    text = f"Failed to read and parse request body, {message}"
    return ApiError(text, 400, "BadRequestError", plain=compat.plain_parse_errors)


def go_fields(raw: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields that Go's decoder would fill: keys in any case, null as if absent, unknown ones dropped."""
    found = {key.lower(): value for key, value in raw.items() if value is not None}
    return {key: value for key, value in found.items() if key in known}


def as_it_stands(raw: Mapping[str, Any], plain: type[T]) -> T | None:
    """`raw` as a struct that takes no value in need of a closer look; None where it has one."""
    try:
        return msgspec.convert(raw, plain)
    except msgspec.ValidationError:
        return None


def convert(
    raw: dict[str, Any], lean: type[T], model: type[BaseModel], compat: Compat, keep: Sequence[str] = ()
) -> T:
    """`raw` as a `lean` struct, by way of pydantic's `model`.

    `keep` are keys whose raw value is used unconverted. ApiError, worded as the imitated server words it, for
    what the model does not accept.
    """
    validated = validate(raw, model, compat)
    values = validated.model_dump(exclude_unset=True, by_alias=True)
    values.update((key, raw[key]) for key in keep if key in raw)
    try:
        return msgspec.convert(values, lean)
    except msgspec.ValidationError as error:
        raise ApiError(f"1 validation error:\n  {error}", 400, "Bad Request") from None


def validate(raw: Any, model: type[M], compat: Compat) -> M:
    """`raw` as `model`; raises ApiError in the words of `compat`."""
    return _validated(raw, partial(model.model_validate, from_attributes=True), compat)


def validate_union(raw: Any, adapter: TypeAdapter[T], compat: Compat, *, named: bool = False) -> T:
    """The same for a union of models, whose names vLLM's locations leave out unless they are `named`."""
    return _validated(raw, adapter.validate_python, compat, skip=0 if named else 1)


def _validated(raw: Any, validator: Callable[..., T], compat: Compat, skip: int = 0) -> T:
    """Raises the 400 for a body that pydantic refuses; the first `skip` parts of locations are not told."""
    try:
        return validator(raw, context=compat)
    except ValidationError as error:
        count, told = error.error_count(), error
    if count > _FEW:  # to put each into words takes far longer than to find it
        try:
            validator(_shortened(raw), context=compat)
        except ValidationError as error:
            told = error
        if told.error_count() > _FEW:
            raise _unreadable(f"{count} validation errors") from None
    errors: list[dict[str, Any]] = [
        {**found, "loc": ("body", *found["loc"][skip:])} for found in told.errors(include_url=False)
    ]
    raise from_errors(errors, compat, count) from None


def _shortened(value: Any) -> Any:
    """The beginnings of all lists and objects: in them are the first errors, which are what is told."""
    if isinstance(value, list):
        return [_shortened(item) for item in value[:_SHOWN]]
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in islice(value.items(), _MOST_FIELDS)}
    return value


def from_errors(errors: Sequence[Mapping[str, Any]], compat: Compat, count: int = 0) -> ApiError:
    """The 400 that tells `errors`, at least one, each with pydantic's keys, in the form of `compat`.

    `count`: of all errors, where `errors` are but the first.
    """
    if compat.validation_errors == "go":
        first = errors[0]
        return go_parse_error(f"json: {first['msg']} at {_location(first['loc'])}", compat)
    if compat.validation_errors == "verbose":
        message = repr([{k: v for k, v in e.items() if k in _VERBOSE_KEYS} for e in errors])
    else:
        message = _in_short(errors, max(count, len(errors)))
    param = _location(errors[0]["loc"]) if compat.error_param else None
    return ApiError(message, 400, "Bad Request", param)


def _in_short(errors: Sequence[Mapping[str, Any]], count: int) -> str:
    lines = [f"{count} validation error{'s' if count > 1 else ''}:"]
    lines += [f"  {_describe(found)}" for found in errors[:_SHOWN]]
    if count > _SHOWN:
        lines.append(f"  ...and {count - _SHOWN} more errors")
    return "\n".join(lines)


_VERBOSE_KEYS = ("type", "loc", "msg", "input", "ctx")


def _describe(found: Mapping[str, Any]) -> str:
    shown: dict[str, Any] = {
        "type": found["type"],
        "loc": _location(found["loc"]),
        "msg": found["msg"],
        "input": _summary(found["input"]),
    }
    if "ctx" in found:
        shown["ctx"] = found["ctx"]
    text = str(shown)
    return text if len(text) <= _MAX_ERROR else text[:_MAX_ERROR] + _CUT


def _summary(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return f"<{type(value).__name__} of {len(value)} items>"
    text = str(value)
    return text if len(text) <= _MAX_INPUT else text[:_MAX_INPUT] + _CUT


def _location(loc: Sequence[str | int]) -> str:
    parts = [str(part) for part in loc if not _UNNAMED.search(str(part))] or map(str, loc)
    return ".".join(parts)
