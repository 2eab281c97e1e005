"""Frames of HTTP/2 (RFC 9113): their numbers, and what can be said of one without knowing its connection."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR = 5, 6, 7, 9
ENHANCE_YOUR_CALM = 11
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 5, 6
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65535
# What both sides take in one frame unless they say otherwise; we do not.
FRAME_SIZE = 16384
LARGEST_FRAME_SIZE = 2**24 - 1
HEAD = struct.Struct(">HBBBL")
SETTING = struct.Struct(">HL")
NUMBER = struct.Struct(">L")

# Frames that belong to a stream, frames that belong to the connection, and lengths that are fixed.
_OF_STREAMS = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION})
_OF_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})
_LENGTHS = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_NAMES = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
]


class H2Error(Exception):
    """The peer broke the protocol; the connection ends with this code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamError(H2Error):
    """The peer broke the protocol on one stream; that stream is reset with this code."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in settings.items()))


def goaway_frame(last_stream: int, code: int, message: str) -> bytes:
    return frame(GOAWAY, 0, 0, NUMBER.pack(last_stream) + NUMBER.pack(code) + message.encode()[:200])


def header_frames(flags: int, stream_id: int, block: bytes, most: int) -> bytes:
    """An encoded header block as HEADERS, and CONTINUATION where it is longer than `most` bytes."""
    if len(block) <= most:
        return frame(HEADERS, END_HEADERS | flags, stream_id, block)
    out = [frame(HEADERS, flags, stream_id, block[:most])]
    for at in range(most, len(block), most):
        last = END_HEADERS if at + most >= len(block) else 0
        out.append(frame(CONTINUATION, last, stream_id, block[at : at + most]))
    return b"".join(out)


def is_preface(data: bytearray) -> bool:
    """Whether the connection preface is there; H2Error where something else is."""
    if not PREFACE.startswith(bytes(data[: len(PREFACE)])):
        raise H2Error(PROTOCOL_ERROR, "not HTTP/2: no connection preface")
    return len(data) >= len(PREFACE)


def check(kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    """H2Error for a frame on the wrong kind of stream or of a wrong length, whatever was before it."""
    name = _NAMES[kind]
    if kind == PUSH_PROMISE:
        raise H2Error(PROTOCOL_ERROR, "a client cannot push")
    if stream_id == 0 and kind in _OF_STREAMS:
        raise H2Error(PROTOCOL_ERROR, f"{name} on stream 0")
    if stream_id and kind in _OF_CONNECTION:
        raise H2Error(PROTOCOL_ERROR, f"{name} on stream {stream_id}")
    size, wanted = len(payload), _LENGTHS.get(kind)
    if wanted is not None and size != wanted:
        error = StreamError if kind == PRIORITY else H2Error
        raise error(FRAME_SIZE_ERROR, f"{name} of {size} bytes, not {wanted}")
    if kind == SETTINGS and (size % 6 or (flags & ACK and size)):
        raise H2Error(FRAME_SIZE_ERROR, f"SETTINGS of {size} bytes")
    if kind == GOAWAY and size < 8:
        raise H2Error(FRAME_SIZE_ERROR, f"GOAWAY of {size} bytes")


def settings_of(payload: bytes) -> dict[int, int]:
    """The settings of a frame, the last of each name; H2Error for a value that none may have."""
    settings = {}
    for name, value in SETTING.iter_unpack(payload):
        if name == ENABLE_PUSH and value > 1:
            raise H2Error(PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH of {value}")
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise H2Error(FLOW_CONTROL_ERROR, f"an initial window of {value}")
        if name == MAX_FRAME_SIZE and not FRAME_SIZE <= value <= LARGEST_FRAME_SIZE:
            raise H2Error(PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE of {value}")
        settings[name] = value
    return settings


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding and priority; H2Error where these do not fit in it."""
    start = end = 0
    if flags & PADDED:
        start, end = 1, payload[0] if payload else 0
    if flags & WITH_PRIORITY:
        start += 5
    if start + end > len(payload):
        code = FRAME_SIZE_ERROR if start > len(payload) else PROTOCOL_ERROR
        raise H2Error(code, "padding or priority longer than its frame")
    return payload[start : len(payload) - end]
