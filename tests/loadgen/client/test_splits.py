"""One answer cut anywhere: what a connection makes of it does not depend on how its bytes arrive."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.client.connection import Connection, Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import parse_target
from tests.loadgen.fakes import DONE, chunk, event, good_stream, plain, sse_head, token


class _Transport:
    """Takes what is written and remembers how it was ended."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = self.ended or "abort"


def received(
    parts: list[bytes], *, lost: bool = False, cancel_after: int | None = None
) -> tuple[Exchange, str]:
    """An exchange whose answer arrives in these parts, and how its connection was ended ("" for kept)."""

    async def main() -> tuple[Exchange, str]:
        loop = asyncio.get_running_loop()
        pool = Pool(loop, parse_target("http://127.0.0.1:1"))
        done: list[Exchange] = []
        exchange = Exchange(
            b"request", done.append, keep_times=True, keep_text=True, cancel_after=cancel_after
        )
        pool._active[exchange.timeout] = {exchange: None}  # as submit leaves it
        connection, transport = Connection(pool), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.send(exchange, 0.0)
        assert transport.written == [b"request"]
        for part in parts:
            if not transport.ended:
                connection.data_received(part)
        if lost:
            connection.connection_lost(None)
        pool.close()
        assert len(done) == (1 if exchange.finished else 0)
        return exchange, transport.ended

    return asyncio.run(main())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


STREAM = good_stream(4)
BROKEN = sse_head() + event({"error": {"message": "boom", "code": 500}}) + DONE
ENDLESS = sse_head() + event(token("a")) + chunk(": ping\n\n") + b"0\r\n\r\n"
SHED = plain(429, {"error": {"message": "full"}}, retry_after="3")
WHOLE = plain(200, {"choices": [{"text": "a b"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE
CLOSING = plain(200, {"choices": [{"text": "a b"}]}, connection="close")
OLD = b'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"choices":[{"text":"a b"}]}'


def essence(exchange: Exchange) -> tuple[object, ...]:
    reader = exchange.reader
    counts = (reader.tokens, len(reader.times or ())) if reader is not None else None
    return (exchange.outcome, exchange.status, exchange.error, exchange.text(), counts, exchange.bytes_in)


@pytest.mark.parametrize(
    ("answer", "outcome", "text", "ended"),
    [
        (STREAM, "ok", " w0 w1 w2 w3", ""),
        (BROKEN, "upstream_5xx", "", ""),
        (ENDLESS, "stream_truncated", "a", ""),
        (SHED, "shed_429", "", ""),
        (WHOLE, "ok", "a b", ""),
        (EARLY, "ok", "a b", ""),
        (CLOSING, "ok", "a b", "close"),
    ],
)
@settings(max_examples=20)  # each has an event loop of its own
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_answers_cut_anywhere(answer: bytes, outcome: str, text: str, ended: str, places: list[int]) -> None:
    exchange, end = received(cut(answer, places))
    assert (exchange.outcome, exchange.text(), end) == (outcome, text, ended)
    assert essence(exchange) == essence(received([answer])[0])
    assert exchange.bytes_in == len(answer)


@settings(max_examples=20)  # each has an event loop of its own
@given(places=st.lists(st.integers(0, 10_000), max_size=8))
def test_a_body_that_ends_with_its_connection(places: list[int]) -> None:
    exchange, _ = received(cut(OLD, places), lost=True)
    assert (exchange.outcome, exchange.text()) == ("ok", "a b")


@settings(max_examples=20)  # each has an event loop of its own
@given(keep=st.integers(1, len(STREAM) - 1))
def test_a_stream_that_breaks_off_anywhere(keep: int) -> None:
    """Before the status line is whole it is a reset, then a truncated stream, with its [DONE] an answer."""
    exchange, _ = received([STREAM[:keep]], lost=True)
    head = STREAM.index(b"\r\n\r\n") + 4
    if b"data: [DONE]" in STREAM[:keep]:
        assert (exchange.outcome, exchange.error) == ("ok", None)
        return
    assert exchange.outcome == ("stream_truncated" if keep >= head else "reset")
    assert exchange.error == "the server closed the connection"
    assert exchange.first_byte is not None


@settings(max_examples=20)  # each has an event loop of its own
@given(wanted=st.integers(1, 4), places=st.lists(st.integers(0, 10_000), max_size=12))
def test_leaving_after_so_many_tokens(wanted: int, places: list[int]) -> None:
    exchange, ended = received(cut(STREAM, places), cancel_after=wanted)
    assert (exchange.outcome, exchange.error) == ("client_cancel", f"left after {wanted} tokens")
    assert ended == "abort"
    assert exchange.reader is not None
    assert exchange.reader.tokens >= wanted  # the rest of one read cannot be unread


@pytest.mark.parametrize("junk", [b"x", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\0\0\0\0"])
def test_what_is_not_http(junk: bytes) -> None:
    exchange, ended = received([junk])
    assert (exchange.outcome, ended) == ("reset", "abort")
    assert (exchange.error or "").startswith("not HTTP: ")
