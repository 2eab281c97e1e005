"""Reading streams: which events are tokens, and how few of them are decoded."""

from __future__ import annotations

import json

import pytest

from loadgen.client import sse
from loadgen.client.sse import SseReader, event_data


def reader(*, text: bool = False) -> SseReader:
    return SseReader(keep_times=True, keep_text=text)


def data(payload: object, *, spaced: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(payload, separators=separators).encode() + b"\n\n"


def completion(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": None}]}


def chat(**delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("spaced", [False, True])
def test_only_the_first_token_and_the_odd_events_are_decoded(
    monkeypatch: pytest.MonkeyPatch, spaced: bool
) -> None:
    decoded: list[bytes] = []
    real = sse.decode_body
    monkeypatch.setattr(sse, "decode_body", lambda raw: (decoded.append(raw), real(raw))[1])
    r = reader()
    for number in range(100):
        r.feed(data(completion(f" w{number}"), spaced=spaced), float(number))
    counts = {"usage": {"prompt_tokens": 3, "completion_tokens": 100}, "choices": []}
    r.feed(data(counts, spaced=spaced) + DONE, 100.0)
    r.finish()
    assert r.tokens == 100
    assert (r.first, r.last) == (0.0, 99.0)
    assert r.complete
    assert r.usage is not None
    assert r.usage.output == 100
    assert len(decoded) == 2


@pytest.mark.parametrize("keep_text", [False, True])
def test_what_one_stream_taught_spares_the_next_its_decoding(
    monkeypatch: pytest.MonkeyPatch, keep_text: bool
) -> None:
    first = reader()
    first.feed(data(completion(" a")) + DONE, 1.0)
    assert first.marker == b'"text":"'
    decoded: list[bytes] = []
    real = sse.decode_body
    monkeypatch.setattr(sse, "decode_body", lambda raw: (decoded.append(raw), real(raw))[1])
    r = SseReader(keep_times=True, keep_text=keep_text, marker=first.marker)
    r.feed(data(completion(" a")), 2.0)
    r.feed(data(completion(" b")) + data({"choices": [], "usage": {"completion_tokens": 2}}) + DONE, 3.0)
    r.finish()
    assert len(decoded) == 1
    assert (r.tokens, r.first, r.content, r.last, r.complete) == (2, 2.0, 2.0, 3.0, True)


@pytest.mark.parametrize(
    "thought",
    [{"reasoning": "hm"}, {"reasoning_details": [{"text": "hm"}]}, {"content": [{"thinking": "hm"}]}],
)
def test_a_marker_that_was_given_takes_no_thought_for_content(thought: dict[str, object]) -> None:
    r = SseReader(keep_times=True, keep_text=True, marker=b'"content":"')
    for moment in (1.0, 2.0):
        r.feed(data(chat(**thought)), moment)
    assert (r.tokens, r.first, r.content, r.marker) == (2, 1.0, None, b"")
    r.feed(data(chat(content="a")) + DONE, 3.0)
    assert (r.tokens, r.content, r.text()) == (3, 3.0, "a")


def test_the_role_chunk_is_no_token() -> None:
    r = reader()
    r.feed(data(chat(role="assistant", content="")), 1.0)
    assert r.first is None
    r.feed(data(chat(content="Hi")), 2.0)
    r.feed(data(chat(content="")), 3.0)
    r.feed(data(chat(content='"')), 4.0)
    r.feed(DONE, 5.0)
    assert (r.tokens, r.steps, r.opening, r.first, r.last) == (2, 3, 1.0, 2.0, 4.0)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "content"])
def test_reasoning_and_content_are_tokens(key: str) -> None:
    r = reader()
    r.feed(data(chat(**{key: "thinking"})), 1.0)
    r.feed(data(chat(content="answer")), 2.0)
    assert r.tokens == 2


def test_arguments_of_tool_calls_are_tokens() -> None:
    r = reader()
    r.feed(data(chat(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}])), 1.0)
    r.feed(data(chat(tool_calls=[{"index": 0, "function": {"arguments": "{"}}])), 2.0)
    r.feed(data(chat(tool_calls=[{"index": 0, "function": {"arguments": "}"}}])), 3.0)
    assert (r.tokens, r.steps, r.first) == (3, 3, 1.0)  # the name was generated too
    assert r.content is None


def test_text_that_looks_like_the_marker_fools_nobody() -> None:
    r = reader(text=True)
    nasty = ' say "text":"" and "choices":[] twice'
    r.feed(data(completion(" a")) + data(completion(nasty)) + data(completion("")), 1.0)
    assert r.tokens == 2
    assert r.text() == " a" + nasty


def test_the_responses_api() -> None:
    r = reader(text=True)
    r.feed(b"event: response.created\n" + data({"type": "response.created", "response": {"output": []}}), 1.0)
    for word in ("Hel", "lo"):
        payload = {"type": "response.output_text.delta", "delta": word}
        r.feed(b"event: response.output_text.delta\n" + data(payload), 2.0)
    usage = {"input_tokens": 7, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}
    r.feed(
        b"event: response.completed\n" + data({"type": "response.completed", "response": {"usage": usage}}),
        3.0,
    )
    r.finish()
    assert r.complete
    assert (r.tokens, r.first) == (2, 2.0)
    assert r.text() == "Hello"
    assert r.usage is not None
    assert r.usage.counts() == (7, 2, 4)


def test_usage_on_the_last_token_is_found() -> None:
    r = reader()
    r.feed(
        data(completion(" a"))
        + data({**completion(" b"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        1.0,
    )
    r.feed(DONE, 2.0)
    r.finish()
    assert r.usage is not None
    assert r.usage.output == 2


def test_carriage_returns_comments_and_split_events() -> None:
    whole = b": ping\r\n\r\n" + data(completion(" a")).replace(b"\n", b"\r\n") + DONE.replace(b"\n", b"\r\n")
    for cut in range(1, len(whole)):
        r = reader()
        r.feed(whole[:cut], 1.0)
        r.feed(whole[cut:], 2.0)
        r.finish()
        assert (r.tokens, r.complete) == (1, True), cut


def test_errors_in_a_stream() -> None:
    r = reader()
    r.feed(data({"error": {"message": "boom", "code": 503}}), 1.0)
    assert (r.error, r.error_code) == ("boom", 503)
    old = reader()
    old.feed(data({"object": "error", "message": "boom", "code": 400}), 1.0)
    assert old.error == "boom"


def test_data_of_several_lines() -> None:
    assert event_data(b"event: x\ndata: a\ndata:b\n") == b"a\nb"
    assert event_data(b": comment") == b""
