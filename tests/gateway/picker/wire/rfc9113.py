"""What RFC 9113 asks of a server, as data: what is sent after the greeting, and what comes of it.

Outcomes: "ok" (the connection goes on), "stream CODE" (RST_STREAM), "connection CODE" (GOAWAY), "closed"
(without a word). GRPCIO says where the server of grpcio 1.85 does otherwise, and why we do not do the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from hpack import Encoder

from gateway.picker.wire.frames import frame

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
BOTH = END_STREAM | END_HEADERS
GREETING = frame(SETTINGS, 0, 0)
LARGEST = 2**31 - 1
ECHO, HOLD = "/s/Echo", "/s/Hold"
MESSAGE = b"\0\0\0\0\3abc"


@dataclass(frozen=True)
class Case:
    """One row. `rfc` is what the RFC asks: a stream error may always be one of the connection."""

    section: str
    name: str
    sent: bytes
    ours: str
    rfc: str = ""
    greeting: bytes = GREETING

    @property
    def asked(self) -> str:
        return self.rfc or self.ours


def block(*more: tuple[str, str], path: str = ECHO, without: str = "", before: bool = False) -> bytes:
    """A gRPC request's header block with `more` fields at its end, or before all others."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
    fields = [field for field in fields if field[0] != without]
    usual = [*fields, ("content-type", "application/grpc"), ("te", "trailers")]
    encoded: bytes = Encoder().encode([*more, *usual] if before else [*usual, *more])
    return encoded


def opened(*more: tuple[str, str], stream: int = 1, path: str = ECHO, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block(*more, path=path))


def raw(*fields: tuple[str, str]) -> bytes:
    encoded: bytes = Encoder().encode(fields)
    return encoded


def message(stream: int = 1) -> bytes:
    return frame(DATA, END_STREAM, stream, MESSAGE)


def setting(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *value) for value in values))


def number(value: int) -> bytes:
    return struct.pack(">L", value)


def cut(*at: int) -> list[bytes]:
    whole = block()
    return [whole[a:b] for a, b in pairwise((0, *at, None))]


ASKED = opened() + message()
HALF = opened(path=HOLD) + message()  # half-closed (remote): the answer waits
OPEN = opened(path=HOLD)
GIVEN_UP = OPEN + frame(RST, 0, 1, number(8))
PROTOCOL, FLOW = "connection PROTOCOL_ERROR", "connection FLOW_CONTROL_ERROR"
SIZE, HPACK = "connection FRAME_SIZE_ERROR", "connection COMPRESSION_ERROR"
CLOSED = "connection STREAM_CLOSED"
MALFORMED, LATE = "stream PROTOCOL_ERROR", "stream STREAM_CLOSED"


def malformed(section: str, name: str, *fields: tuple[str, str], **how: str | bool) -> Case:
    return Case(section, name, frame(HEADERS, END_HEADERS, 1, block(*fields, **how)), MALFORMED)  # type: ignore[arg-type]


CASES = [
    Case("3.4", "no preface", b"", PROTOCOL, greeting=b"GET / HTTP/1.1\r\n\r\n"),
    Case("3.4", "PING before SETTINGS", b"", PROTOCOL, greeting=frame(PING, 0, 0, b"12345678")),
    Case("3.4", "SETTINGS that acknowledge come first", b"", PROTOCOL, greeting=frame(SETTINGS, ACK, 0)),
    Case("4.1", "an unknown frame", frame(0xBE, 0, 0, b"grease") + ASKED, "ok"),
    Case(
        "4.1",
        "the reserved bit of a stream",
        frame(HEADERS, END_HEADERS, 1 | 1 << 31, block()) + message(),
        "ok",
    ),
    Case("4.1", "undefined flags", frame(PING, 0x16, 0, b"12345678") + ASKED, "ok"),
    Case(
        "4.2", "DATA of the largest size", opened() + frame(DATA, 0, 1, b"\0\0\0\x40\0" + b"x" * 16379), "ok"
    ),
    Case("4.2", "DATA beyond it", opened() + frame(DATA, 0, 1, b"x" * 16385), SIZE),
    Case("4.2", "HEADERS beyond it", frame(HEADERS, END_HEADERS, 1, b"\x82" * 16385), SIZE),
    Case("4.2", "SETTINGS beyond it", frame(SETTINGS, 0, 0, b"\0" * 16386), SIZE),
    Case("4.3", "an index that is not in the table", frame(HEADERS, END_HEADERS, 1, b"\xff\x80\x01"), HPACK),
    Case("4.3", "a header block that is cut", frame(HEADERS, END_HEADERS, 1, block() + b"\x40\x05a"), HPACK),
    Case(
        "4.3", "a table larger than allowed", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f" + block()), HPACK
    ),
    Case(
        "4.3", "PING inside a block", frame(HEADERS, 0, 1, block()) + frame(PING, 0, 0, b"12345678"), PROTOCOL
    ),
    Case("4.3", "HEADERS inside a block", frame(HEADERS, 0, 1, block()) + opened(stream=3), PROTOCOL),
    Case("4.3", "DATA inside a block", frame(HEADERS, 0, 1, block()) + frame(DATA, 0, 1, b"x"), PROTOCOL),
    Case(
        "4.3", "an unknown frame inside a block", frame(HEADERS, 0, 1, block()) + frame(0xBE, 0, 1), PROTOCOL
    ),
    Case("5.1", "DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
    Case("5.1", "RST_STREAM on an idle stream", frame(RST, 0, 1, number(8)), PROTOCOL),
    Case("5.1", "WINDOW_UPDATE on an idle stream", frame(WINDOW, 0, 1, number(9)), PROTOCOL),
    Case("5.1", "CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL),
    Case(
        "5.1", "PRIORITY on an idle stream", frame(PRIORITY, 0, 1, b"\0\0\0\0\1") + opened() + message(), "ok"
    ),
    Case("5.1", "DATA on a half-closed stream", HALF + frame(DATA, 0, 1, b"x"), LATE),
    Case("5.1", "HEADERS on a half-closed stream", HALF + opened(flags=BOTH), LATE),
    Case("5.1", "WINDOW_UPDATE on a half-closed stream", HALF + frame(WINDOW, 0, 1, number(9)), "ok"),
    Case("5.1", "PRIORITY on a half-closed stream", HALF + frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), "ok"),
    Case("5.1", "RST_STREAM on a half-closed stream", HALF + frame(RST, 0, 1, number(8)), "ok"),
    Case("5.1", "DATA after RST_STREAM", GIVEN_UP + frame(DATA, 0, 1, b"x"), LATE),
    Case("5.1", "HEADERS after RST_STREAM", GIVEN_UP + opened(flags=BOTH), CLOSED, rfc=LATE),
    Case("5.1", "CONTINUATION after RST_STREAM", GIVEN_UP + frame(CONTINUATION, 4, 1, block()), PROTOCOL),
    Case("5.1", "WINDOW_UPDATE after RST_STREAM", GIVEN_UP + frame(WINDOW, 0, 1, number(9)), "ok"),
    Case("5.1", "PRIORITY after RST_STREAM", GIVEN_UP + frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), "ok"),
    Case("5.1", "RST_STREAM twice", GIVEN_UP + frame(RST, 0, 1, number(8)), "ok"),
    Case("5.1.1", "an even stream", opened(stream=2), PROTOCOL),
    Case(
        "5.1.1", "a stream that was passed over", opened(stream=5) + message(5) + opened(stream=3), PROTOCOL
    ),
    Case("5.1.1", "streams may be passed over", opened(stream=99) + message(99), "ok"),
    Case("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
    Case("6.1", "padding as long as the frame", opened() + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL),
    Case(
        "6.1", "padded DATA", opened() + frame(DATA, PADDED | END_STREAM, 1, b"\2" + MESSAGE + b"\0\0"), "ok"
    ),
    Case("6.1", "empty DATA ends a stream", opened() + frame(DATA, 0, 1, MESSAGE) + frame(DATA, 1, 1), "ok"),
    Case("6.2", "HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, block()), PROTOCOL),
    Case(
        "6.2",
        "padding longer than the frame",
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block()),
        PROTOCOL,
    ),
    Case(
        "6.2",
        "padding and priority",
        frame(HEADERS, 0x2C, 1, b"\1\0\0\0\0\1" + block() + b"\0") + message(),
        "ok",
    ),
    Case("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\0\1"), PROTOCOL),
    Case("6.3", "PRIORITY of 4 bytes", OPEN + frame(PRIORITY, 0, 1, b"\0\0\0\1"), "stream FRAME_SIZE_ERROR"),
    Case("6.3", "PRIORITY that depends on itself", OPEN + frame(PRIORITY, 0, 1, b"\0\0\0\1\1"), "ok"),
    Case("6.4", "RST_STREAM on stream 0", frame(RST, 0, 0, number(8)), PROTOCOL),
    Case("6.4", "RST_STREAM of 3 bytes", OPEN + frame(RST, 0, 1, b"\0\0\0"), SIZE),
    Case("6.5", "SETTINGS that acknowledge with a payload", frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\1"), SIZE),
    Case("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL),
    Case("6.5", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"\0\1\0\0\0"), SIZE),
    Case("6.5", "SETTINGS again, one of them twice", setting((4, 5), (4, 70000), (3, 9)) + ASKED, "ok"),
    Case("6.5.2", "ENABLE_PUSH of 2", setting((2, 2)), PROTOCOL),
    Case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", setting((4, 2**31)), FLOW),
    Case("6.5.2", "MAX_FRAME_SIZE of 16383", setting((5, 16383)), PROTOCOL),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^24", setting((5, 2**24)), PROTOCOL),
    Case("6.5.2", "an unknown setting", setting((0xBEEF, 1)) + ASKED, "ok"),
    Case("6.6", "PUSH_PROMISE of a client", frame(PUSH, END_HEADERS, 1, number(2) + block()), PROTOCOL),
    Case("6.7", "PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL),
    Case("6.7", "PING of 6 bytes", frame(PING, 0, 0, b"123456"), SIZE),
    Case("6.7", "PING that acknowledges nothing", frame(PING, ACK, 0, b"12345678") + ASKED, "ok"),
    Case("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL),
    Case("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, b"\0" * 7), SIZE),
    Case("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW, 0, 0, b"\0\0\1"), SIZE),
    Case("6.9", "WINDOW_UPDATE of 0", frame(WINDOW, 0, 0, number(0)), PROTOCOL),
    Case("6.9", "WINDOW_UPDATE of 0 on a stream", OPEN + frame(WINDOW, 0, 1, number(0)), MALFORMED),
    Case("6.9.1", "the connection's window beyond 2^31", frame(WINDOW, 0, 0, number(LARGEST)), FLOW),
    Case(
        "6.9.1",
        "a stream's window beyond 2^31",
        OPEN + frame(WINDOW, 0, 1, number(LARGEST)),
        "stream FLOW_CONTROL_ERROR",
    ),
    Case(
        "6.9.2",
        "settings that widen a window beyond 2^31",
        OPEN + frame(WINDOW, 0, 1, number(LARGEST - 65535)) + setting((4, 65536)),
        FLOW,
    ),
    Case("6.10", "CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL),
    Case(
        "6.10",
        "CONTINUATION on stream 0",
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 4, 0, block()),
        PROTOCOL,
    ),
    Case("6.10", "CONTINUATION after the end", OPEN + frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL),
    Case(
        "6.10",
        "a block in three frames, one of them empty",
        frame(HEADERS, 0, 1, cut(9)[0])
        + frame(CONTINUATION, 0, 1)
        + frame(CONTINUATION, END_HEADERS, 1, cut(9)[1])
        + message(),
        "ok",
    ),
    Case("8.1", "HEADERS in the middle", OPEN + frame(HEADERS, END_HEADERS, 1, raw(("x", "1"))), MALFORMED),
    Case(
        "8.1",
        "trailers",
        opened() + frame(DATA, 0, 1, MESSAGE) + frame(HEADERS, BOTH, 1, raw(("x", "1"))),
        "ok",
    ),
    Case(
        "8.1", "a pseudo-header in trailers", OPEN + frame(HEADERS, BOTH, 1, raw((":path", "/"))), MALFORMED
    ),
    malformed("8.2.1", "an upper-case name", ("X-Upper", "1")),
    malformed("8.2.1", "a name with a space", ("x y", "1")),
    malformed("8.2.1", "an empty name", ("", "1")),
    malformed("8.2.1", "a value with a line end", ("x", "a\r\nb")),
    malformed("8.2.1", "a value with NUL", ("x", "a\0b")),
    malformed("8.2.1", "a value that begins with a space", ("x", " a")),
    malformed("8.2.2", "connection", ("connection", "close")),
    malformed("8.2.2", "keep-alive", ("keep-alive", "1")),
    malformed("8.2.2", "proxy-connection", ("proxy-connection", "close")),
    malformed("8.2.2", "transfer-encoding", ("transfer-encoding", "chunked")),
    malformed("8.2.2", "upgrade", ("upgrade", "h2c")),
    malformed("8.2.2", "te other than trailers", ("te", "gzip")),
    malformed("8.3", "an unknown pseudo-header", (":unknown", "1"), before=True),
    malformed("8.3", ":status in a request", (":status", "200"), before=True),
    malformed("8.3", "a pseudo-header after the others", (":late", "1")),
    malformed("8.3", "a pseudo-header twice", (":path", "/"), before=True),
    malformed("8.3.1", "no :method", without=":method"),
    malformed("8.3.1", "no :scheme", without=":scheme"),
    malformed("8.3.1", "no :path", without=":path"),
    malformed("8.3.1", "an empty :path", path=""),
    malformed("8.1.1", "content-length that is no number", ("content-length", "1x")),
    Case("8.1.1", "a body of content-length", opened(("content-length", "8")) + message(), "ok"),
    Case("8.1.1", "a body that is larger", opened(("content-length", "7")) + message(), MALFORMED),
    Case("8.1.1", "a body that is smaller", opened(("content-length", "9")) + message(), MALFORMED),
    Case("8.1.1", "no body", opened(("content-length", "9"), flags=BOTH), MALFORMED),
]

# Outcome and reason -> rows in which grpcio's server differs from ours.
GRPCIO = {
    ("closed", "it hangs up without GOAWAY; ours says why"): [
        "3.4 no preface",
        "3.4 PING before SETTINGS",
        "4.1 undefined flags",
        "4.2 DATA beyond it",
        "4.2 HEADERS beyond it",
        "4.2 SETTINGS beyond it",
        "4.3 an index that is not in the table",
        "4.3 a header block that is cut",
        "4.3 a table larger than allowed",
        "4.3 PING inside a block",
        "4.3 HEADERS inside a block",
        "4.3 DATA inside a block",
        "4.3 an unknown frame inside a block",
        "5.1 CONTINUATION on an idle stream",
        "5.1 CONTINUATION after RST_STREAM",
        "6.2 padding longer than the frame",
        "6.2 padding and priority",
        "6.4 RST_STREAM of 3 bytes",
        "6.5 SETTINGS that acknowledge with a payload",
        "6.5 SETTINGS on a stream",
        "6.5 SETTINGS of 5 bytes",
        "6.7 PING of 6 bytes",
        "6.8 GOAWAY of 7 bytes",
        "6.9 WINDOW_UPDATE of 3 bytes",
        "6.9 WINDOW_UPDATE of 0",
        "6.9 WINDOW_UPDATE of 0 on a stream",
        "6.10 CONTINUATION of nothing",
        "6.10 CONTINUATION on stream 0",
        "6.10 CONTINUATION after the end",
        "8.1 HEADERS in the middle",
    ],
    ("ok", "it takes what the RFC calls an error; a peer that sends it is broken and should hear so"): [
        "3.4 SETTINGS that acknowledge come first",
        "5.1 DATA on an idle stream",
        "5.1 RST_STREAM on an idle stream",
        "5.1 WINDOW_UPDATE on an idle stream",
        "5.1 DATA on a half-closed stream",
        "5.1 HEADERS on a half-closed stream",
        "5.1 DATA after RST_STREAM",
        "5.1 HEADERS after RST_STREAM",
        "5.1.1 an even stream",
        "5.1.1 a stream that was passed over",
        "6.1 DATA on stream 0",
        "6.2 HEADERS on stream 0",
        "6.3 PRIORITY on stream 0",
        "6.3 PRIORITY of 4 bytes",
        "6.4 RST_STREAM on stream 0",
        "6.6 PUSH_PROMISE of a client",
        "6.7 PING on a stream",
        "6.8 GOAWAY on a stream",
        "6.9.1 the connection's window beyond 2^31",
        "6.9.1 a stream's window beyond 2^31",
        "6.9.2 settings that widen a window beyond 2^31",
        "8.1 a pseudo-header in trailers",
        "8.2.1 an upper-case name",
        "8.2.1 a name with a space",
        "8.2.1 an empty name",
        "8.2.1 a value with a line end",
        "8.2.1 a value with NUL",
        "8.2.1 a value that begins with a space",
        "8.2.2 connection",
        "8.2.2 keep-alive",
        "8.2.2 proxy-connection",
        "8.2.2 transfer-encoding",
        "8.2.2 upgrade",
        "8.2.2 te other than trailers",
        "8.3 an unknown pseudo-header",
        "8.3 :status in a request",
        "8.3 a pseudo-header after the others",
        "8.3 a pseudo-header twice",
        "8.3.1 an empty :path",
        "8.1.1 content-length that is no number",
        "8.1.1 a body that is larger",
        "8.1.1 a body that is smaller",
        "8.1.1 no body",
    ],
    (
        "stream PROTOCOL_ERROR",
        "it knows no padding of DATA and no request without :path; neither comes from Envoy",
    ): [
        "6.1 padding as long as the frame",
        "6.1 padded DATA",
    ],
    (
        "stream INTERNAL_ERROR",
        "it knows no padding of DATA and no request without :path; neither comes from Envoy",
    ): [
        "8.3.1 no :method",
        "8.3.1 no :scheme",
        "8.3.1 no :path",
    ],
}
