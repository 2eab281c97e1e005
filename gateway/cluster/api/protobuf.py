"""Bodies in Kubernetes' protobuf, which kubectl sends of built-in kinds, as plain data.

Field numbers stand in protobuf.json (from the generated.proto files of k8s.io/api and apimachinery 0.32; a
number never changes); names and types come from the OpenAPI definitions. Zero values are left out, as
Kubernetes' JSON does.
"""

from __future__ import annotations

import base64
import datetime
import functools
import struct
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import msgspec

from gateway.cluster.objects.definitions import PREFIX, definition_of, definitions
from gateway.cluster.objects.errors import bad_request

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
# Definitions whose meta kinds stand in every group, under the group's own name.
_SHARED = {"DeleteOptions": f"{_META}DeleteOptions"}
_ZERO_MEANS = {"replicas", "partition", "gracePeriodSeconds", "terminationGracePeriodSeconds"}
_EMPTY_MEANS = {"emptyDir"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
Table = dict[str, Any]  # number -> name, or the table of a message that is inlined there


@functools.cache
def _numbers() -> dict[str, Table]:
    text = files("gateway.cluster.api").joinpath("protobuf.json").read_bytes()
    found: dict[str, Table] = msgspec.json.decode(text)
    return found


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises ApiError 400 for what is none, or of a kind without numbers here."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not Kubernetes' protobuf: it does not start with k8s\\x00")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        names = dict(_fields(envelope[1]))
        api_version, kind = names.get(1, b"").decode(), names.get(2, b"").decode()
        group, _, version = api_version.rpartition("/")
        name = _SHARED.get(kind) or definition_of(group, version, kind)
        if name not in _numbers():
            raise bad_request(f"{api_version} {kind} is not read as protobuf here; send JSON")
        found = _message(name, envelope.get(2, b""))
    except (KeyError, IndexError, ValueError, struct.error, AttributeError) as error:
        raise bad_request(f"the body cannot be read as protobuf: {error}") from None
    return {"apiVersion": api_version, "kind": kind, **found}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value): an integer, or the bytes of anything that has a length."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif wire == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field is longer than the body")
            yield key >> 3, data[at : at + size]
            at += size
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
            yield key >> 3, struct.unpack_from("<q" if size == 8 else "<i", data, at)[0]
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(name: str, data: bytes) -> dict[str, Any]:
    properties = definitions()[name].get("properties", {})
    found: dict[str, Any] = {}
    _read(_numbers()[name], properties, data, found)
    return found


def _read(numbers: Table, properties: dict[str, Any], data: bytes, found: dict[str, Any]) -> None:
    for number, value in _fields(data):
        name = numbers.get(str(number))
        if isinstance(name, dict):
            _read(name, properties, value, found)
        elif name is not None and name in properties:
            _put(found, name, properties[name], value)


def _put(found: dict[str, Any], name: str, schema: dict[str, Any], value: Any) -> None:
    kind = _type(schema)
    if kind == "array":
        found.setdefault(name, []).append(_value(schema["items"], value))
        return
    if isinstance(schema.get("additionalProperties"), dict):
        entry = dict(_fields(value))
        key = entry.get(1, b"").decode()
        found.setdefault(name, {})[key] = _value(schema["additionalProperties"], entry.get(2, b""))
        return
    read = _value(schema, value)
    means = name in _ZERO_MEANS or name in _EMPTY_MEANS
    if means or read not in ("", 0, False, None, {}):
        found[name] = read


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "")
    return next((t for t in kind if t != "null"), "") if isinstance(kind, list) else str(kind)


def _value(schema: dict[str, Any], value: Any) -> Any:
    target = schema.get("$ref") or next((p["$ref"] for p in schema.get("allOf", ()) if "$ref" in p), None)
    if target:
        return _named(target.removeprefix(PREFIX), value)
    kind = _type(schema)
    if kind == "boolean":
        return bool(value)
    if kind in {"integer", "number"}:
        return value - (1 << 64) if isinstance(value, int) and value >= 1 << 63 else value
    if schema.get("format") == "byte":
        return base64.b64encode(value).decode()
    return value.decode() if isinstance(value, bytes) else value


def _named(name: str, data: bytes) -> Any:
    short = name.rpartition(".")[2]
    if short in {"Time", "MicroTime"}:
        seconds = dict(_fields(data)).get(1)
        if seconds is None:
            return None
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if short == "Quantity":
        return dict(_fields(data)).get(1, b"").decode()
    if short == "IntOrString":
        fields = dict(_fields(data))
        return fields.get(3, b"").decode() if fields.get(1) == 1 else fields.get(2, 0)
    if name in _numbers():
        return _message(name, data)
    return {}
