"""Streams as servers of all kinds send them: the outcome, the counts, the text and the moments of each."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from loadgen.client.exchange import Exchange
from loadgen.client.sse import SseReader
from tests.loadgen.drive import one_exchange
from tests.loadgen.fakes import DONE, FakeServer, Reply, Seen, chunk, event, plain, sse_head, token, usage

OK, TRUNCATED = "ok", "stream_truncated"


def chat(finish: str | None = None, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def answered(*parts: bytes, cut: bool = False, reset: bool = False) -> Exchange:
    """What the client makes of a server that sends this, and perhaps breaks the connection then."""

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(*parts)
        if cut or reset:
            reply.cut(reset=reset)

    async def main() -> Exchange:
        async with FakeServer(script) as server:
            return await one_exchange(server.url, keep_text=True)

    return asyncio.run(main())


def head(kind: str | None) -> bytes:
    line = "" if kind is None else f"content-type: {kind}\r\n"
    return f"HTTP/1.1 200 OK\r\n{line}transfer-encoding: chunked\r\n\r\n".encode()


TWO = (event(token(" a")), event(token(" b", "length")), event(usage(5, 2)))
END = b"0\r\n\r\n"


@pytest.mark.parametrize(
    "kind",
    [
        "text/event-stream",
        "Text/Event-Stream",
        " TEXT/EVENT-STREAM; charset=UTF-8",
        None,
        "text/plain",
        "application/octet-stream",
        "application/json",
    ],
)
def test_a_stream_is_one_whatever_it_calls_itself(kind: str | None) -> None:
    found = answered(head(kind), *TWO, DONE)
    assert (found.outcome, found.text()) == (OK, " a b")
    assert found.reader is not None
    assert found.reader.tokens == 2
    assert found.usage is not None
    assert found.usage.output == 2


@pytest.mark.parametrize(
    "begin", [b": hi\n\n", b"event: x\nid: 3\n", b"retry: 9\n\n", b"\xef\xbb\xbf", b"\n\n"]
)
def test_a_nameless_stream_that_begins_with(begin: bytes) -> None:
    found = answered(head(None), chunk(begin), *TWO, DONE)
    assert (found.outcome, found.text()) == (OK, " a b")


def test_a_nameless_stream_byte_by_byte() -> None:
    whole = b": x\n\n" + b"".join(
        b"data: " + json.dumps(each).encode() + b"\n\n" for each in (token(" a"), token(" b", "length"))
    )
    exchange = Exchange(b"", lambda _: None, keep_text=True)
    exchange.on_head(200, {})
    for number in range(len(whole)):
        exchange.on_data(whole[number : number + 1], float(number))
    exchange.complete(9999.0)
    assert (exchange.outcome, exchange.text()) == (OK, " a b")


def test_a_whole_answer_where_a_stream_was_asked_for_is_an_answer() -> None:
    found = answered(plain(200, {"choices": [{"text": "data: x"}], "usage": {"completion_tokens": 2}}))
    assert (found.outcome, found.text(), found.reader) == (OK, "data: x", None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_lines_end_as_they_like_and_are_cut_anywhere(end: str, size: int) -> None:
    events = [": ping", *(f"event: m\ndata: {json.dumps(token(f' {i}'))}" for i in range(3)), "data: [DONE]"]
    stream = "".join(f"{each}\n\n" for each in events).replace("\n", end).encode()
    reader = SseReader(keep_times=True, keep_text=True)
    for moment, start in enumerate(itertools.count(0, size)):
        if start >= len(stream):
            break
        reader.feed(stream[start : start + size], float(moment))
    reader.finish()
    assert (reader.tokens, reader.text(), reader.complete, reader.unread) == (3, " 0 1 2", True, 0)


def test_an_event_that_ends_with_a_bare_carriage_return_is_taken_at_once() -> None:
    reader = SseReader(keep_times=True, keep_text=False)
    reader.feed(f"data: {json.dumps(token('a'))}\r\r".encode(), 1.0)
    assert reader.first == 1.0
    reader.feed(f"\rdata: {json.dumps(token('b'))}\r\r".encode(), 2.0)
    assert reader.times == [1.0, 2.0]


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter"])
def test_a_finish_reason_is_an_end_without_done(finish: str) -> None:
    closing = answered(sse_head(), event(chat(content="a")), event(chat(finish)), event(usage(1, 2)), END)
    with_text = answered(sse_head(), event(token("a")), event(token("b")), event(token("c", finish)), END)
    then_usage = answered(sse_head(), event(token("a")), event(token("b", finish)), event(usage(1, 2)), END)
    assert [closing.outcome, with_text.outcome, then_usage.outcome] == [OK] * 3


@pytest.mark.parametrize("finish", [None, ""])
def test_without_a_finish_reason_a_stream_without_done_is_truncated(finish: str | None) -> None:
    found = answered(sse_head(), event(token("a", finish)), event(token("b", finish)), END)
    assert (found.outcome, found.error) == (TRUNCATED, "the stream ended without [DONE]")


def test_one_choice_at_its_end_does_not_end_the_other() -> None:
    other = {"choices": [{"index": 1, "text": " more", "finish_reason": None}]}
    found = answered(
        sse_head(), event(token("a")), event(token("b", "stop")), event(other), event(other), END
    )
    assert found.outcome == TRUNCATED


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_behind_done_takes_nothing_back(reset: bool) -> None:
    def broken(*parts: bytes) -> Exchange:
        return answered(sse_head(), *parts, cut=not reset, reset=reset)

    if not reset:  # a reset may overtake what was sent before it
        assert broken(*TWO, event("[DONE]")).outcome == OK
        error = event({"error": {"message": "engine died", "code": 500}})
        found = broken(event(token("a")), error)
        assert (found.outcome, found.error) == ("upstream_5xx", "engine died")
    assert broken(event(token("a")), event(token("b", "length"))).outcome in (TRUNCATED, "reset")


def test_a_refusal_whose_body_breaks_off_keeps_its_class() -> None:
    refusal = plain(429, {"error": {"message": "full"}}, content_length="500")
    found = answered(refusal, cut=True)
    assert found.outcome == "shed_429"
    assert (found.error or "").endswith("(the server closed the connection)")


@pytest.mark.parametrize(
    ("said", "outcome", "words"),
    [
        ({"error": {"message": "slow down", "type": "rate_limit_error"}}, "shed_429", "slow down"),
        ({"error": {"message": "too long", "code": "context_length_exceeded"}}, "rejected_4xx", "too long"),
        ({"error": {"message": "died", "type": "server_error"}}, "upstream_5xx", "died"),
        ({"error": {"message": "died", "code": "503"}}, "upstream_5xx", "died"),
        ({"error": "died"}, "upstream_5xx", "died"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "wait"}, "shed_429", "wait"),
        ({"object": "error", "code": 400, "message": "bad"}, "rejected_4xx", "bad"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "died"}}},
         "upstream_5xx", "died"),
    ],
)  # fmt: skip
def test_an_error_in_a_stream_keeps_its_words_and_its_class(said: object, outcome: str, words: str) -> None:
    for closing in (DONE, END):
        found = answered(sse_head(), event(token("a")), event(said), closing)
        assert (found.outcome, found.error) == (outcome, words)


def test_an_error_event_that_is_no_json() -> None:
    found = answered(sse_head(), event(token("a")), chunk("event: error\ndata: engine died\n\n"), DONE)
    assert (found.outcome, found.error) == ("upstream_5xx", "engine died")


def test_what_cannot_be_read_is_counted_and_told() -> None:
    found = answered(sse_head(), event(token("a")), event("{torn"), event("hello"), event(usage(1, 1)), DONE)
    assert found.outcome == OK
    assert found.reader is not None
    assert (found.reader.unread, found.reader.first_unread) == (2, b"{torn")
    nothing = answered(sse_head(), event("hello"), END)
    assert nothing.outcome == TRUNCATED
    assert (nothing.error or "").endswith("1 events that are no answer, first hello")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("https://other.example/v1/completions", "308 leads to https://other.example/v1/completions"),
        ("/v1/completions/", "308 leads to /v1/completions/"),
        ("https://me:pw@other.example/x?api_key=abc", "308 leads to https://other.example/x"),
    ],
)
def test_a_redirect_says_where_to(place: str, words: str) -> None:
    found = answered(plain(308, "moved", location=place))
    assert (found.outcome, found.error) == ("rejected_4xx", words)


def test_usage_is_the_last_one_seen() -> None:
    def counted(text: str, n: int, finish: str | None = None) -> bytes:
        return event({**token(text, finish), "usage": {"prompt_tokens": 3, "completion_tokens": n}})

    growing = [counted(f" {n}", n) for n in range(1, 6)]
    for closing in (b"", event(token("", "stop")), event({"choices": [], "usage": None})):
        found = answered(sse_head(), *growing, closing, DONE)
        assert found.usage is not None
        assert found.usage.output == 5
    found = answered(sse_head(), event(usage(3, 1)), *growing, event(usage(3, 6)), event(usage(3, 7)), DONE)
    assert found.usage is not None
    assert found.usage.output == 7


def test_a_conversation_remembers_the_answer_and_not_the_thoughts() -> None:
    tool: dict[str, Any] = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}]}
    parts: dict[str, Any] = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": " c"}]
    }
    second = {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    said = [chat(reasoning="hm"), chat(content=" a"), chat(content=" b"), second, chat(**parts), chat(**tool)]
    found = answered(sse_head(), *map(event, said), event(chat("tool_calls")), DONE)
    assert found.text() == " a b c"


def test_counts_as_floats_and_strings() -> None:
    counts = {"prompt_tokens": 5.0, "completion_tokens": "2", "prompt_tokens_details": {"cached_tokens": 4.0}}
    found = answered(sse_head(), *TWO[:2], event({"choices": [], "usage": counts}), DONE)
    assert found.usage is not None
    assert found.usage.counts() == (5, 2, 4)
