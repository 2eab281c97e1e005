"""What servers say: whole answers, pieces, counts and errors, and the outcome that each of them is."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.client.answers.body import decode_body
from loadgen.client.answers.pieces import piece_of, text_of
from loadgen.client.answers.refusals import error_code, error_text
from loadgen.client.exchange import GATEWAY_WORDS, Exchange, classify_status
from loadgen.numbers.outcomes import OUTCOMES


def body(payload: object) -> bytes:
    return json.dumps(payload).encode()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"choices": [{"text": "hi"}]}, "hi"),
        ({"choices": [{"text": ""}]}, ""),
        ({"choices": []}, ""),
        ({"choices": [{"message": {"role": "assistant", "content": "hi"}}]}, "hi"),
        ({"choices": [{"message": {"content": None}}]}, ""),
        (
            {
                "output": [
                    {"type": "message", "content": [{"type": "output_text", "text": "hi"}, {"text": "!"}]}
                ]
            },
            "hi!",
        ),
        (
            {"choices": [{"message": {"content": [{"type": "thinking", "thinking": "hm"}, {"text": "hi"}]}}]},
            "hi",
        ),
        ({"choices": [{"message": {"content": None, "reasoning_content": "hm"}}]}, ""),
        (
            {"output": [{"type": "reasoning", "content": [{"text": "hm"}]}, {"content": [{"text": "hi"}]}]},
            "hi",
        ),
        ({"output": [{"type": "reasoning", "content": None}, {"content": [{"text": "hi"}]}]}, "hi"),
        ({}, ""),
    ],
)
def test_the_text_of_a_whole_answer(answer: object, text: str) -> None:
    found = decode_body(body(answer))
    assert found is not None
    assert text_of(found) == text


@pytest.mark.parametrize(
    ("event", "piece"),
    [
        ({"choices": [{"text": "a"}]}, ("a", "text")),
        ({"choices": [{"delta": {"content": "a"}}]}, ("a", "content")),
        ({"choices": [{"delta": {"reasoning_content": "a"}}]}, ("a", "reasoning_content")),
        ({"choices": [{"delta": {"reasoning": "a"}}]}, ("a", "reasoning")),
        ({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{"}}]}}]}, ("{", "arguments")),
        ({"choices": [{"delta": {"tool_calls": [{"function": None}]}}]}, ("", "")),
        (
            {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": ""}}]}}]},
            ("f", "name"),
        ),
        (
            {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": {"a": 1}}}]}}]},
            ('{"a":1}', "arguments"),
        ),
        ({"choices": [{"delta": {"tool_calls": [{"custom": {"name": "f"}}]}}]}, ('{"name":"f"}', "custom")),
        ({"choices": [{"delta": {"function_call": {"name": "f"}}}]}, ("f", "name")),
        ({"choices": [{"delta": {"refusal": "no"}}]}, ("no", "refusal")),
        (
            {"choices": [{"delta": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}]},
            ("ab", "content"),
        ),
        (
            {"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}}]},
            ("hm", "thinking"),
        ),
        (
            {
                "choices": [
                    {
                        "delta": {
                            "content": [],
                            "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
                        }
                    }
                ]
            },
            ("hm", "reasoning_details"),
        ),
        (
            {"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]}}]},
            ("s", "reasoning_details"),
        ),
        (
            {"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}}]},
            ("x", "reasoning_details"),
        ),
        (
            {"type": "response.function_call_arguments.delta", "delta": "{"},
            ("{", "response.function_call_arguments.delta"),
        ),
        (
            {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
            ("f", "name"),
        ),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, ("", "")),
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, ("", "")),
        ({"choices": [{"delta": {}}, {"delta": {"content": "b"}}]}, ("b", "content")),
        ({"type": "response.output_text.delta", "delta": "a"}, ("a", "delta")),
        ({"type": "response.output_text.done", "delta": "a"}, ("", "")),
        ({"choices": []}, ("", "")),
    ],
)
def test_the_text_of_an_event(event: object, piece: tuple[str, str]) -> None:
    found = decode_body(body(event))
    assert found is not None
    assert piece_of(found) == piece


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 3}, (5, 3, None)),
        ({"prompt_tokens": 5, "completion_tokens": 0, "prompt_tokens_details": None}, (5, 0, None)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}, (5, None, 2)),
        ({"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}, (5, 3, 2)),
        ({"prompt_tokens": 0, "input_tokens": 9}, (0, None, None)),
        ({"prompt_tokens": 5.0, "completion_tokens": "3"}, (5, 3, None)),
        ({"prompt_tokens": "many", "completion_tokens": "3.0"}, (None, 3, None)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2.0}}, (5, None, 2)),
        ({}, (None, None, None)),
    ],
)
def test_counts(usage: object, counts: tuple[int | None, int | None, int | None]) -> None:
    found = decode_body(body({"usage": usage}))
    assert found is not None
    assert found.usage is not None
    assert found.usage.counts() == counts


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[1]", b'"a"', b'{"choices": 3}', b'{"usage": {"prompt_tokens": [5]}}']
)
def test_what_is_no_answer(data: bytes) -> None:
    assert decode_body(data) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"error": {"message": "boom", "type": "x", "code": 400}}', "boom"),
        (b'{"error": "boom"}', "boom"),
        (b'{"error": {"type": "x"}}', '{"type": "x"}'),
        (b'{"error": ["a"]}', '["a"]'),
        (b'{"object": "error", "message": "boom", "code": 404}', "boom"),
        (b"no healthy upstream", "no healthy upstream"),
        (b"  <html>\n", "<html>"),
        (b"<html><head><title>502 Bad\r\nGateway</title></head><body>x</body>", "502 Bad Gateway"),
        (b"<html>\n<h1>Sorry</h1>\n</html>", "Sorry"),
        (b"no\n  upstream", "no upstream"),
        (b"", ""),
        (b"\xff\xfe", "��"),
        (b'{"error": {"message": "' + b"x" * 500 + b'"}}', "x" * 300),
        (b"x" * 500, "x" * 300),
    ],
)
def test_words_of_errors(data: bytes, text: str) -> None:
    assert error_text(data) == text


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"code": 503}', 503),
        (b'{"code": "503"}', 503),
        (b'{"code": 429.0}', 429),
        (b'{"code": true}', None),
        (b'{"code": null, "status": 404}', 404),
        (b'{"code": "rate_limit_exceeded"}', 429),
        (b'{"type": "overloaded_error"}', 429),
        (b'{"type": "insufficient_quota"}', 429),
        (b'{"code": "invalid_api_key", "type": "invalid_request_error"}', 401),
        (b'{"type": "NotFoundError"}', 404),
        (b'{"type": "BadRequestError"}', 400),
        (b'{"code": "context_length_exceeded"}', 400),
        (b'{"type": "server_error"}', None),
        (b"{}", None),
        (b'"boom"', None),
        (b'{"code": null}', None),
    ],
)
def test_codes_of_errors(raw: bytes, code: int | None) -> None:
    assert error_code(msgspec.Raw(raw)) == code


REASON = "x-llm-d-request-dropped-reason"
OTHER = "x-gateway-request-dropped-reason"


@pytest.mark.parametrize(
    ("status", "headers", "data", "outcome"),
    [
        (429, {}, b"", "shed_429"),
        (429, {REASON: "rejected-saturated"}, b"", "shed_429"),
        (429, {REASON: "evicted-by-priority"}, b"", "evicted"),
        (503, {OTHER: "evicted-ttl"}, b"", "evicted"),
        (503, {REASON: "rejected-ttl-expired"}, b"", "ttl_503"),
        (503, {OTHER: "rejected-context-cancelled"}, b"", "ttl_503"),
        (400, {}, b"", "rejected_4xx"),
        (404, {"server": "envoy"}, b"", "rejected_4xx"),
        (300, {}, b"", "rejected_4xx"),
        (500, {}, b"", "upstream_5xx"),
        (500, {"server": "envoy"}, b"", "upstream_5xx"),
        (503, {}, b"", "upstream_5xx"),
        (503, {"server": "uvicorn"}, b"", "upstream_5xx"),
        (503, {"server": "envoy"}, b"", "gateway_503"),
        (503, {"server": "istio-envoy"}, b"", "gateway_503"),
        (503, {"server": "envoy", "x-envoy-upstream-service-time": "3"}, b"", "upstream_5xx"),
        (503, {"server": "envoy", "x-inference-pod": "p"}, b"no healthy upstream", "upstream_5xx"),
        *((status, {}, word, "gateway_503") for status in (502, 503, 504) for word in GATEWAY_WORDS),
        (501, {}, b"no healthy upstream", "upstream_5xx"),
    ],
)
def test_the_class_of_an_error(status: int, headers: dict[str, str], data: bytes, outcome: str) -> None:
    assert classify_status(status, headers, data) == outcome


@given(
    status=st.integers(300, 599),
    headers=st.dictionaries(
        st.sampled_from([REASON, OTHER, "server", "x-inference-pod", "x-envoy-upstream-service-time"]),
        st.sampled_from(["evicted-x", "rejected-ttl-expired", "rejected-saturated", "envoy", "p", ""]),
    ),
    data=st.sampled_from([b"", *GATEWAY_WORDS]),
)
def test_every_error_has_a_class(status: int, headers: dict[str, str], data: bytes) -> None:
    assert classify_status(status, headers, data) in set(OUTCOMES) - {"ok"}


def ended(status: int, headers: dict[str, str], data: bytes, *, whole: bool = True) -> Exchange:
    """An exchange that got this answer, without a wire."""
    done: list[Exchange] = []
    exchange = Exchange(b"", done.append, keep_times=True)
    exchange.on_head(status, headers)
    exchange.on_data(data, 1.0)
    if whole:
        exchange.complete(2.0)
    else:
        exchange.fail("reset", "gone", 2.0)
    exchange.fail("timeout", "too late", 3.0)  # an end is an end
    assert done == [exchange]
    assert exchange.end == 2.0
    return exchange


SSE = {"content-type": "text/event-stream; charset=utf-8"}
DATA = b'data: {"choices":[{"text":"a"}]}\n\n'


@pytest.mark.parametrize(
    ("status", "headers", "data", "outcome", "error"),
    [
        (200, SSE, DATA + b"data: [DONE]\n\n", "ok", None),
        (200, SSE, DATA, "stream_truncated", "the stream ended without [DONE]"),
        (200, SSE, b"", "stream_truncated", "the stream ended without [DONE]"),
        (200, SSE, DATA + b'data: {"error":{"message":"boom","code":500}}\n\n', "upstream_5xx", "boom"),
        (200, SSE, b'data: {"error":{"message":"full","code":429}}\n\n', "shed_429", "full"),
        (200, SSE, b'data: {"error":{"message":"bad","code":400}}\n\n', "rejected_4xx", "bad"),
        (200, SSE, b'data: {"error":{"message":"odd","code":7}}\n\n', "upstream_5xx", "odd"),
        (200, {}, b'{"choices":[{"text":"a"}]}', "ok", None),
        (201, {}, b'{"choices":[]}', "ok", None),
        (200, {}, b"{}", "stream_truncated", "a 200 whose body is no answer: {}"),
        (200, {}, b"<html>", "stream_truncated", "a 200 whose body is no answer: <html>"),
        (200, {}, b'{"error":{"message":"full","code":429}}', "shed_429", "full"),
        (200, {}, b'{"error":null,"choices":[{"text":"a"}]}', "ok", None),
        (307, {"location": "https://a.b/x?key=1"}, b"", "rejected_4xx", "307 leads to https://a.b/x"),
        (301, {}, b"moved", "rejected_4xx", "301 without a location"),
        (422, {}, b'{"detail":[{"loc":["body"]}]}', "rejected_4xx", '[{"loc":["body"]}]'),
        (429, {REASON: "rejected-saturated"}, b"words", "shed_429", "rejected-saturated"),
        (400, {}, b'{"error":{"message":"bad"}}', "rejected_4xx", "bad"),
        (503, SSE, b"no healthy upstream", "gateway_503", "no healthy upstream"),
    ],
)
def test_the_outcome_of_an_exchange(
    status: int, headers: dict[str, str], data: bytes, outcome: str, error: str | None
) -> None:
    exchange = ended(status, headers, data)
    assert (exchange.outcome, exchange.error, exchange.status) == (outcome, error, status)


def test_what_had_come_before_a_failure_is_kept() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    exchange = ended(200, SSE, DATA + usage, whole=False)
    assert (exchange.outcome, exchange.error) == ("reset", "gone")
    assert exchange.usage is not None
    assert exchange.usage.counts()[0] == 3
    assert exchange.reader is not None
    assert exchange.reader.tokens == 1


def test_counts_and_text_of_a_whole_answer() -> None:
    exchange = ended(
        200, {}, b'{"choices":[{"text":"a b"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    )
    assert exchange.text() == "a b"
    assert exchange.usage is not None
    assert exchange.usage.output == 2
    assert ended(500, {}, b"x").text() == ""


def test_a_plan_to_leave_is_told_at_its_token() -> None:
    exchange = Exchange(b"", lambda _: None, cancel_after=2)
    exchange.on_head(200, SSE)
    assert not exchange.on_data(DATA, 1.0)
    assert exchange.on_data(DATA, 2.0)


def test_answers_that_are_no_utf_8_are_answers_that_cannot_be_read() -> None:
    raw = b'{"choices":[{"text":"\xff"}]}'
    assert decode_body(raw) is None
    assert error_text(b'{"error":{"message":"\xff"}}') == '{"message":"\ufffd"}'
    assert error_code(msgspec.Raw(b'{"code":500,"message":"\xff"}')) is None


@pytest.mark.parametrize("depth", [20, 900, 50_000])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b'{"choices":[{"delta":{"content":', b"}}]}"),
        (b'{"choices":[{"delta":{"reasoning":', b"}}]}"),
        (b'{"id":', b"}"),
        (b'{"error":{"code":', b"}}"),
    ],
)
def test_nesting_without_end_is_no_answer_and_no_crash(before: bytes, behind: bytes, depth: int) -> None:
    data = before + b"[" * depth + b'"a"' + b"]" * depth + behind
    body = decode_body(data)
    assert body is None or piece_of(body) == ("", "")
    assert len(error_text(data)) <= 300
    assert decode_body(b'{"choices": []}') is not None
