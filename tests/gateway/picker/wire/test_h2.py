"""The HTTP/2 of the picker, byte by byte."""

from __future__ import annotations

import struct

import pytest
from hpack import Encoder

from gateway.picker.wire.frames import PREFACE, H2Error, frame
from gateway.picker.wire.h2 import H2Connection

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
TRAILERS = b"\x88"
METHOD = ((":method", "POST"), (":scheme", "http"))


class Heard:
    """Writes down what the connection says of its streams."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def opened(self, stream_id: int, headers: list[tuple[str, str]]) -> None:
        self.log.append(("opened", stream_id, {name: v for name, v in headers if (name, v) not in METHOD}))

    def data(self, stream_id: int, data: bytes) -> None:
        self.log.append(("data", stream_id, data))

    def ended(self, stream_id: int) -> None:
        self.log.append(("ended", stream_id))

    def reset(self, stream_id: int) -> None:
        self.log.append(("reset", stream_id))


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of what was sent."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        kind, flags, stream_id = data[3], data[4], int.from_bytes(data[5:9], "big")
        found.append((kind, flags, stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def connection(heard: Heard) -> H2Connection:
    """One that has greeted and been greeted."""
    connection = H2Connection(heard)
    connection.receive(PREFACE + frame(SETTINGS, 0, 0))
    connection.take()
    return connection


def block(*fields: tuple[str, str]) -> bytes:
    rest = fields or ((":path", "/x"),)
    encoded: bytes = Encoder().encode([*METHOD, *rest])
    return encoded


def opened(connection: H2Connection, stream_id: int = 1, flags: int = END_HEADERS) -> None:
    connection.receive(frame(HEADERS, flags, stream_id, block()))


def settings(**values: int) -> bytes:
    names = {"initial_window_size": 4, "max_frame_size": 5}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", names[n], v) for n, v in values.items()))


def test_greeting() -> None:
    connection = H2Connection(Heard())
    connection.receive(PREFACE[:5])
    connection.receive(PREFACE[5:] + frame(SETTINGS, 0, 0))
    kinds = [(kind, flags) for kind, flags, _, _ in frames(connection.take())]
    assert kinds == [(SETTINGS, 0), (WINDOW, 0), (SETTINGS, 1)]


def test_what_is_no_http2() -> None:
    with pytest.raises(H2Error, match="no connection preface"):
        H2Connection(Heard()).receive(b"GET / HTTP/1.1\r\n\r\n")


def test_a_stream_byte_by_byte(connection: H2Connection, heard: Heard) -> None:
    request = frame(HEADERS, END_HEADERS, 1, block((":path", "/p"), ("x", "y")))
    request += frame(DATA, 0, 1, b"abc") + frame(DATA, END_STREAM, 1, b"")
    for byte in request:
        connection.receive(bytes((byte,)))
    assert heard.log == [("opened", 1, {":path": "/p", "x": "y"}), ("data", 1, b"abc"), ("ended", 1)]


def test_replies_and_trailers(connection: H2Connection, heard: Heard) -> None:
    opened(connection, flags=END_HEADERS | END_STREAM)
    connection.send_headers(1, b"\x88")
    connection.send_data(1, b"hello")
    connection.send_trailers(1, TRAILERS)
    assert frames(connection.take()) == [
        (HEADERS, END_HEADERS, 1, b"\x88"),
        (DATA, 0, 1, b"hello"),
        (HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS),
    ]
    connection.send_data(1, b"too late")
    assert connection.take() == b""


def test_ending_before_the_client_tells_it_to_stop(connection: H2Connection, heard: Heard) -> None:
    opened(connection)
    connection.send_trailers(1, TRAILERS)
    assert [kind for kind, *_ in frames(connection.take())] == [HEADERS, RST]
    assert heard.log[-1] == ("reset", 1)
    connection.receive(frame(DATA, 0, 1, b"did not know"))
    assert heard.log[-1] == ("reset", 1)


def test_indexed_header_blocks_keep_their_meaning_when_the_table_changes(
    connection: H2Connection, heard: Heard
) -> None:
    encoder = Encoder()
    one, two = [(":path", "/one"), ("a", "1")], [(":path", "/two"), ("b", "2")]
    for stream_id, fields in enumerate((one, one, one, two, one, two, two, one)):
        connection.receive(frame(HEADERS, END_HEADERS, 2 * stream_id + 1, encoder.encode([*METHOD, *fields])))
    assert [entry[2] for entry in heard.log] == [dict(f) for f in (one, one, one, two, one, two, two, one)]


def test_continuation_padding_and_priority(connection: H2Connection, heard: Heard) -> None:
    whole = block((":path", "/" + "p" * 50))
    padded = b"\x03" + b"\0" * 5 + whole[:10] + b"\0" * 3
    connection.receive(frame(HEADERS, PADDED | 0x20, 1, padded))
    connection.receive(frame(CONTINUATION, 0, 1, whole[10:20]))
    connection.receive(frame(CONTINUATION, END_HEADERS, 1, whole[20:]))
    connection.receive(frame(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0"))
    assert heard.log == [("opened", 1, {":path": "/" + "p" * 50}), ("data", 1, b"abc"), ("ended", 1)]


def test_client_trailers_end_the_stream(connection: H2Connection, heard: Heard) -> None:
    opened(connection)
    connection.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([("grpc-x", "1")])))
    assert heard.log[-1] == ("ended", 1)


def test_reset_and_close(connection: H2Connection, heard: Heard) -> None:
    opened(connection, 1)
    opened(connection, 3)
    connection.receive(frame(RST, 0, 1, b"\0\0\0\x08"))
    connection.receive(frame(RST, 0, 1, b"\0\0\0\x08"))
    connection.close()
    assert heard.log[2:] == [("reset", 1), ("reset", 3)]


def test_ping_is_answered(connection: H2Connection) -> None:
    connection.receive(frame(PING, 0, 0, b"12345678") + frame(PING, 1, 0, b"87654321"))
    assert frames(connection.take()) == [(PING, 1, 0, b"12345678")]


def test_large_data_is_cut_to_the_peers_frame_size(connection: H2Connection) -> None:
    opened(connection)
    connection.send_data(1, b"x" * 40000)
    assert [len(payload) for *_, payload in frames(connection.take())] == [16384, 16384, 7232]
    connection.receive(settings(max_frame_size=1 << 20))
    connection.take()
    connection.send_data(1, b"x" * 20000)
    assert [len(payload) for *_, payload in frames(connection.take())] == [20000]


def test_data_waits_for_the_windows_and_trailers_for_the_data(connection: H2Connection) -> None:
    opened(connection, flags=END_HEADERS | END_STREAM)
    connection.receive(settings(initial_window_size=10))
    connection.take()
    connection.send_data(1, b"0123456789abcdef")
    connection.send_data(1, b"ghi")
    connection.send_trailers(1, TRAILERS)
    assert [payload for *_, payload in frames(connection.take())] == [b"0123456789"]
    connection.receive(frame(WINDOW, 0, 1, struct.pack(">L", 8)))
    assert [payload for *_, payload in frames(connection.take())] == [b"abcdef", b"gh"]
    connection.receive(settings(initial_window_size=100))
    kinds = [(kind, payload) for kind, _, _, payload in frames(connection.take())]
    assert (DATA, b"i") in kinds
    assert kinds[-1] == (HEADERS, TRAILERS)


def test_the_connections_window_counts_for_all_streams(connection: H2Connection) -> None:
    opened(connection, 1)
    opened(connection, 3)
    connection.receive(settings(initial_window_size=1 << 20))
    connection.take()
    connection.send_data(1, b"x" * 60000)
    connection.send_data(3, b"y" * 60000)
    sent = sum(len(payload) for *_, payload in frames(connection.take()))
    assert sent == 65535
    connection.receive(frame(WINDOW, 0, 0, struct.pack(">L", 1 << 20)))
    assert sum(len(payload) for *_, payload in frames(connection.take())) == 120000 - 65535


def test_a_smaller_initial_window_may_make_windows_negative(connection: H2Connection) -> None:
    opened(connection)
    connection.send_data(1, b"x" * 1000)
    connection.receive(settings(initial_window_size=100))
    connection.take()
    connection.send_data(1, b"y")
    assert connection.take() == b""
    connection.receive(frame(WINDOW, 0, 1, struct.pack(">L", 901)))
    assert [payload for *_, payload in frames(connection.take())] == [b"y"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 5, b"x"), 1),  # a stream that was never opened
        (frame(HEADERS, END_HEADERS, 2, block()), 1),  # an even stream
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
        (frame(CONTINUATION, END_HEADERS, 1, b""), 1),
        (frame(HEADERS, 0, 1, b"") + frame(PING, 0, 0, b"12345678"), 1),
        (frame(5, 0, 1, b""), 1),  # PUSH_PROMISE
        (frame(SETTINGS, 0, 0, b"x"), 6),
        (settings(initial_window_size=2**31), 3),
        (frame(WINDOW, 0, 0, struct.pack(">L", 2**31 - 1)), 3),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09a"), 1),
        ((2**21).to_bytes(3, "big") + b"\0\0\0\0\0\1", 6),
        (frame(PING, 0, 0, b"1234567"), 6),
        (frame(PING, 0, 1, b"12345678"), 1),
        (frame(SETTINGS, 1, 0, b"123456"), 6),
        (frame(SETTINGS, 0, 1), 1),
        (frame(SETTINGS, 0, 0, struct.pack(">HL", 2, 2)), 1),  # ENABLE_PUSH
        (settings(max_frame_size=16383), 1),
        (settings(max_frame_size=2**24), 1),
        (frame(WINDOW, 0, 0, b"\0\0\0"), 6),
        (frame(WINDOW, 0, 0, b"\0\0\0\0"), 1),
        (frame(WINDOW, 0, 7, b"\0\0\0\1"), 1),  # an idle stream
        (frame(RST, 0, 1, b"\0\0\0"), 6),
        (frame(RST, 0, 0, b"\0\0\0\0"), 1),
        (frame(RST, 0, 7, b"\0\0\0\0"), 1),
        (frame(GOAWAY, 0, 0, b"\0" * 7), 6),
        (frame(DATA, 0, 0, b"x"), 1),
        (frame(HEADERS, END_HEADERS, 0, block()), 1),
        (frame(PING, 0, 0, b"12345678") * 200, 11),
        (frame(SETTINGS, 0, 0) * 200, 11),
        (frame(0xBE, 0, 0) * 20_000, 11),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 65, 11),
        (frame(HEADERS, 0, 1, b"\0" * 9000) + frame(CONTINUATION, 0, 1, b"\0" * 9000), 11),
    ],
)
def test_broken_peers(connection: H2Connection, sent: bytes, code: int) -> None:
    with pytest.raises(H2Error) as caught:
        connection.receive(sent)
    assert caught.value.code == code
    connection.goaway(code, "why")
    kind, _, _, payload = frames(connection.take())[-1]
    assert (kind, payload[4:8]) == (GOAWAY, struct.pack(">L", code))


def test_unknown_frames_are_ignored(connection: H2Connection, heard: Heard) -> None:
    connection.receive(
        frame(0xBE, 0, 0, b"grease") + frame(2, 0, 1, b"\0\0\0\0\1") + frame(GOAWAY, 0, 0, b"\0" * 8)
    )
    opened(connection)
    assert len(heard.log) == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 1, b"x"), 5),  # after its end
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, block()), 5),
        (frame(WINDOW, 0, 1, b"\0\0\0\0"), 1),
        (frame(WINDOW, 0, 1, struct.pack(">L", 2**31 - 1)), 3),
        (frame(2, 0, 1, b"\0\0\0\0"), 6),  # PRIORITY
    ],
)
def test_what_breaks_a_stream_leaves_the_connection(
    connection: H2Connection, heard: Heard, sent: bytes, code: int
) -> None:
    opened(connection, flags=END_HEADERS | END_STREAM)
    connection.receive(sent)
    assert frames(connection.take()) == [(RST, 0, 1, struct.pack(">L", code))]
    assert heard.log[-1] == ("reset", 1)
    opened(connection, 3)
    assert heard.log[-1][:2] == ("opened", 3)


def test_an_hpack_bomb_ends_the_connection(connection: H2Connection) -> None:
    planted = Encoder()
    connection.receive(
        frame(HEADERS, END_HEADERS, 1, planted.encode([*METHOD, (":path", "/x"), ("x", "y" * 4000)]))
    )
    with pytest.raises(H2Error) as caught:
        connection.receive(frame(HEADERS, END_HEADERS, 3, b"\xbe" * 16000))
    assert caught.value.code == 11
