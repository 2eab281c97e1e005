"""Header fields of a request: decoded from HPACK, and held to RFC 9113 section 8."""

from __future__ import annotations

import re

from hpack import Decoder, HPACKError, OversizedHeaderListError

from gateway.picker.wire.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    H2Error,
    StreamError,
)
from gateway.picker.wire.limits import HEADER_LIST

Fields = list[tuple[str, str]]
# A block that is nothing but indexes is short, and a peer has few of them.
_KNOWN_SIZE, _KNOWN_BLOCKS = 64, 64
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(r"(?![ \t])[^\0\r\n]*(?<![ \t])")
_PSEUDO = frozenset({":method", ":scheme", ":path", ":authority"})
_OF_REQUESTS, _OF_CONNECT = {":method", ":scheme", ":path"}, {":method", ":authority"}
_OF_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


class FieldReader:
    """The decoder of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST)
        self._known: dict[bytes, tuple[Fields, int | None]] = {}

    def request(self, block: bytes) -> tuple[Fields, int | None]:
        """The fields of a request and the content-length they tell.

        H2Error where the block is no HPACK or more than 16 KiB, StreamError where the request is malformed.
        A block of nothing but short indexes means the same until the table changes.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        fields = self.decode(block)
        found = (fields, check_request(fields))
        if len(block) <= _KNOWN_SIZE and len(self._known) < _KNOWN_BLOCKS and _only_indexes(block):
            self._known[block] = found
        return found

    def decode(self, block: bytes) -> Fields:
        """Fields of whatever kind; H2Error as above."""
        try:
            fields = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except OversizedHeaderListError:
            # The rest is not decoded, so the peer's table and ours differ from here on.
            raise H2Error(ENHANCE_YOUR_CALM, f"headers of more than {HEADER_LIST} bytes") from None
        except (HPACKError, UnicodeDecodeError) as error:
            raise H2Error(COMPRESSION_ERROR, f"headers: {str(error)[:100]}") from None
        if self._known and not _only_indexes(block):
            self._known.clear()
        return fields


def _only_indexes(block: bytes) -> bool:
    return bool(block) and min(block) > 0x80 and max(block) < 0xFF


def check_request(fields: Fields) -> int | None:
    """The content-length that the fields of a request tell; StreamError where the request is malformed."""
    pseudo: dict[str, str] = {}
    length, regular = None, False
    for name, value in fields:
        if not name.startswith(":"):
            regular = True
            length = _check_field(name, value, length)
        elif regular or name not in _PSEUDO or name in pseudo:
            raise StreamError(PROTOCOL_ERROR, f"the pseudo-header {name[:40]!r} is unknown, late or repeated")
        else:
            pseudo[name] = value
            _check_value(name, value)
    _check_pseudo(pseudo)
    return length


def _check_pseudo(pseudo: dict[str, str]) -> None:
    connect = pseudo.get(":method") == "CONNECT"
    wanted = _OF_CONNECT if connect else _OF_REQUESTS
    if not wanted <= pseudo.keys() or pseudo.get(":path") == "":
        raise StreamError(PROTOCOL_ERROR, f"a request without one of {', '.join(sorted(wanted))}")
    if connect and len(pseudo) > len(wanted):
        raise StreamError(PROTOCOL_ERROR, "CONNECT with :scheme or :path")


def check_trailers(fields: Fields) -> None:
    """StreamError where trailers have pseudo-headers or malformed fields."""
    for name, value in fields:
        _check_field(name, value, None)


def _check_field(name: str, value: str, length: int | None) -> int | None:
    """The content-length after this field."""
    if not _NAME.fullmatch(name):
        raise StreamError(PROTOCOL_ERROR, f"the header name {name[:40]!r} has characters that none may have")
    _check_value(name, value)
    if name in _OF_CONNECTION or (name == "te" and value != "trailers"):
        raise StreamError(PROTOCOL_ERROR, f"the header {name}: {value[:40]!r} has no meaning in HTTP/2")
    if name != "content-length":
        return length
    if not (value.isascii() and value.isdigit()) or length not in (None, int(value[:20])):
        raise StreamError(PROTOCOL_ERROR, f"content-length: {value[:40]!r}")
    return int(value[:20])


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise StreamError(PROTOCOL_ERROR, f"the value of {name} has characters that none may have")
