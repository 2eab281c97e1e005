"""TPOT and ITL against a schedule that is known: every kind of ending, stream and event shape."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from loadgen.client.exchange import Exchange
from loadgen.plan.plan import ClassPlan, PlannedRequest
from loadgen.records.frame import Frame, gaps_of_tokens
from loadgen.records.records import Odd, Record
from loadgen.run.jobs import Job, Unit
from loadgen.run.outcome import record_of

HEAD, PREFILL, PACE = 0.0005, 0.05, 0.005
LENGTHS = (1, 2, 3, 10, 137, 500)
Timed = tuple[float, dict[str, object]]


def at(number: int) -> float:
    """When token `number` (from 0) was generated."""
    return PREFILL + PACE * number


def answered(events: list[Timed], usage: dict[str, int] | None, *, keep_times: bool = True) -> Record:
    """The record of a stream whose events arrived at these moments after its start, usage with the last."""
    ended: list[Exchange] = []
    exchange = Exchange(b"", ended.append, keep_times=keep_times)
    exchange.first_byte = HEAD
    exchange.on_head(200, {"content-type": "text/event-stream"})
    for moment, payload in events:
        exchange.on_data(b"data: " + json.dumps(payload).encode() + b"\n\n", moment)
    last = events[-1][0]
    if usage is not None:
        exchange.on_data(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n", last)
    exchange.on_data(b"data: [DONE]\n\n", last)
    exchange.complete(last + 0.0001)
    assert ended == [exchange]
    request = PlannedRequest(slot=0, id="r", cls="c", body=[])
    return record_of(Job(Unit(ClassPlan(), [request], {}), 0, 0.0), exchange, 0.0, 0, keep_times=keep_times)


def completion(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}


def chat(finish: str | None = None, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(arguments: str, name: str | None = None) -> dict[str, object]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return chat(tool_calls=[{"index": 0, "function": function}])


ROLE = chat(role="assistant", content="")


def completions_by_length(n: int) -> Iterator[Timed]:
    for i in range(n):
        yield at(i), completion(f" w{i}", "length" if i == n - 1 else None)


def completions_by_eos(n: int) -> Iterator[Timed]:
    yield from ((at(i), completion(f" w{i}")) for i in range(n - 1))
    yield at(n - 1), completion("", "stop")


def completions_held_back(n: int) -> Iterator[Timed]:
    """A stop string of three tokens: the text comes that much later, and what is left of it is cut."""
    yield from ((at(i), completion("" if i < 3 else f" w{i}")) for i in range(n - 1))
    yield at(n - 1), completion("", "stop")


def chat_by_length(n: int) -> Iterator[Timed]:
    yield at(0), ROLE
    for i in range(n):
        yield at(i), chat("length" if i == n - 1 else None, content=f" w{i}")


def chat_by_eos(n: int) -> Iterator[Timed]:
    yield at(0), ROLE
    yield from ((at(i), chat(content=f" w{i}")) for i in range(n - 1))
    yield at(n - 1), chat("stop")


def chat_role_at_once(n: int) -> Iterator[Timed]:
    """Other servers: the role ahead of everything, and a closing event that is no token."""
    yield HEAD, ROLE
    yield from ((at(i), chat(content=f" w{i}")) for i in range(n))
    yield at(n - 1) + 0.0003, chat("length")


def chat_empty_at_once(n: int) -> Iterator[Timed]:
    yield HEAD, chat(role="assistant")
    yield HEAD, chat(content="")
    yield from ((at(i), chat(content=f" w{i}")) for i in range(n))
    yield at(n - 1) + 0.0003, chat("length")


def chat_reasoning(n: int) -> Iterator[Timed]:
    yield at(0), ROLE
    for i in range(n - 1):
        yield at(i), chat(**{"reasoning_content" if i < n // 2 else "content": f" w{i}"})
    yield at(n - 1), chat("stop")


def chat_reasoning_marks_swallowed(n: int) -> Iterator[Timed]:
    """The parser shows neither <think> nor </think>."""
    yield at(0), ROLE
    for i in range(1, n - 1):
        if i != n // 2:
            yield at(i), chat(**{"reasoning" if i < n // 2 else "content": f" w{i}"})
    yield at(n - 1), chat("stop")


def chat_tool_call(n: int) -> Iterator[Timed]:
    yield at(0), chat(role="assistant", content=None, tool_calls=[{"index": 0, "function": {"name": "f"}}])
    yield from ((at(i), call('"')) for i in range(1, n - 1))
    if n > 1:
        yield at(n - 1), chat("tool_calls")


def chat_tool_name_first(n: int) -> Iterator[Timed]:
    yield at(0), ROLE
    yield at(0), call("", "f")
    yield from ((at(i), call('"')) for i in range(1, n - 1))
    if n > 1:
        yield at(n - 1), chat("tool_calls")


def chat_tool_head_swallowed(n: int) -> Iterator[Timed]:
    """As vLLM's parsers: nothing while the name is spoken, nothing of the closing tag."""
    yield at(0), ROLE
    shown = list(range(min(13, n - 1), n - 3))
    yield from ((at(i), call("{", "f" if i == shown[0] else None)) for i in shown)
    yield at(n - 1), chat("tool_calls")


def merged_events(n: int) -> Iterator[Timed]:
    """Tokens of three steps in one event, as where the consumer lags."""
    yield at(0), completion(" w0")
    for i in range(3, n - 1, 3):
        yield at(i), completion(f" w{i}")
    yield at(n - 1), completion("", "stop")


def responses(n: int) -> Iterator[Timed]:
    yield HEAD, {"type": "response.created", "response": {"output": []}}
    yield from ((at(i), {"type": "response.output_text.delta", "delta": f" w{i}"}) for i in range(n - 1))
    yield at(n - 1), {"type": "response.output_text.done", "text": "all of it"}
    counts = {"input_tokens": 3, "output_tokens": n}
    yield at(n - 1), {"type": "response.completed", "response": {"usage": counts}}


def responses_by_length(n: int) -> Iterator[Timed]:
    yield from ((at(i), {"type": "response.output_text.delta", "delta": f" w{i}"}) for i in range(n))
    counts = {"input_tokens": 3, "output_tokens": n}
    yield at(n - 1), {"type": "response.incomplete", "response": {"usage": counts}}


KINDS = (
    completions_by_length,
    completions_by_eos,
    completions_held_back,
    chat_by_length,
    chat_by_eos,
    chat_role_at_once,
    chat_empty_at_once,
    chat_reasoning,
    chat_reasoning_marks_swallowed,
    chat_tool_call,
    chat_tool_name_first,
    chat_tool_head_swallowed,
    merged_events,
    responses,
    responses_by_length,
)
SHOWN_LATE = (chat_reasoning_marks_swallowed, chat_tool_head_swallowed)
"""Kinds whose first token has no event that shows it: TTFT is when something could first be read."""


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
@pytest.mark.parametrize("keep_times", [True, False])
def test_tpot_and_itl_are_the_schedules(kind, n: int, keep_times: bool) -> None:  # type: ignore[no-untyped-def]
    usage = {"prompt_tokens": 3, "completion_tokens": n}
    record = answered(list(kind(n)), None if "response" in kind.__name__ else usage, keep_times=keep_times)
    frame = Frame([record])
    assert record.output_tokens == n
    if kind is completions_held_back:  # the first three carry nothing, unless there is nothing else
        assert frame.latency("ttft")[0].tolist() == pytest.approx([at(3 if n > 4 else 0)])
    elif kind not in SHOWN_LATE:
        assert frame.latency("ttft")[0].tolist() == [PREFILL]
    tpot, itl = frame.latency("tpot")[0], frame.latency("itl")[0]
    if n == 1:
        assert tpot.size == itl.size == 0
        return
    assert tpot.tolist() == pytest.approx([PACE], rel=1e-4)
    if keep_times:
        assert itl.size == n - 1
        assert float(itl.mean()) == pytest.approx(PACE, rel=1e-4)
        assert itl.tolist() == pytest.approx([PACE] * (n - 1), rel=1e-3)


@pytest.mark.parametrize("n", LENGTHS[1:])
@pytest.mark.parametrize("kind", [completions_by_length, completions_by_eos, chat_by_length, chat_by_eos])
def test_without_usage_what_closes_an_answer_counts_neither_as_token_nor_as_time(kind, n: int) -> None:  # type: ignore[no-untyped-def]
    record = answered(list(kind(n)), None)
    shown = n - (kind in (completions_by_eos, chat_by_eos))
    assert record.output_tokens == shown
    assert Frame([record]).latency("tpot")[0].tolist() == pytest.approx([PACE] * (shown > 1))


def test_tokens_that_came_in_one_event_have_no_pace() -> None:
    for keep_times in (True, False):
        usage = {"prompt_tokens": 3, "completion_tokens": 20}
        frame = Frame([answered([(PREFILL, completion(" all", "stop"))], usage, keep_times=keep_times)])
        assert frame.latency("tpot")[0].size == frame.latency("itl")[0].size == 0
        assert frame.latency("ttft")[0].tolist() == [PREFILL]


def test_a_role_said_with_the_head_is_no_token() -> None:
    """Its time is not the first token's, however many tokens had no event: here three in each."""
    events = [(HEAD, ROLE), *((at(3 * i), chat(content="abc")) for i in range(10))]
    record = answered(events, {"prompt_tokens": 3, "completion_tokens": 28})
    assert (record.opening, record.first_token) == (None, PREFILL)
    assert Frame([record]).latency("tpot")[0].tolist() == pytest.approx([PACE])


def test_an_empty_delta_ahead_of_everything_is_no_first_token() -> None:
    """Not even where events are fewer than tokens, so that the count does not tell what it was."""
    events = [(HEAD, chat(content="")), *((at(3 * i), chat(content="abc")) for i in range(10))]
    record = answered(events, {"prompt_tokens": 3, "completion_tokens": 30})
    assert record.first_token == PREFILL
    assert Frame([record]).latency("ttft")[0].tolist() == [PREFILL]


def test_without_usage_what_carries_nothing_is_no_token() -> None:
    events = [
        (HEAD, chat(content="")),
        *((at(i), chat(content=" w")) for i in range(10)),
        (at(10), chat("stop")),
    ]
    record = answered(events, None)
    assert (record.output_tokens, record.first_token, record.last_token) == (10, at(0), at(9))
    assert record.odd == Odd(uncounted=True)


def test_no_token_at_all() -> None:
    record = answered([(HEAD, ROLE)], {"prompt_tokens": 3, "completion_tokens": 0})
    assert (record.outcome, record.first_token, record.odd) == ("ok", None, Odd(silent=True))


def test_first_token_and_first_content_are_two_moments() -> None:
    def thinks(key: str) -> list[Timed]:
        thoughts = [(at(i), chat(**{key: " hm"})) for i in range(5)]
        return [
            (HEAD, ROLE),
            *thoughts,
            *((at(i), chat(content=" w")) for i in range(5, 9)),
            (at(9), chat("stop")),
        ]

    for key in ("reasoning", "reasoning_content"):
        record = answered(thinks(key), {"prompt_tokens": 3, "completion_tokens": 10})
        moments = (record.first_token, record.first_content, record.last_token)
        assert moments == pytest.approx((at(0), at(5), at(9)))
    tools = [(at(0), call("", "f")), (at(1), call("{}")), (at(2), chat("tool_calls"))]
    record = answered(tools, {"prompt_tokens": 3, "completion_tokens": 3})
    assert (record.first_token, record.first_content) == (at(0), None)
    details = {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}
    events = [(at(0), chat(**details)), (at(1), chat(content="a")), (at(2), chat("stop"))]
    record = answered(events, {"prompt_tokens": 3, "completion_tokens": 3})
    assert (record.first_token, record.first_content) == (at(0), at(1))


def test_content_beside_thoughts_in_one_event_is_the_first_content() -> None:
    events = [(at(i), chat(reasoning=" hm", content="")) for i in range(4)]
    events += [
        (at(4), chat(reasoning=" hm", content=" w")),
        (at(5), chat(content=" w")),
        (at(6), chat("stop")),
    ]
    record = answered(events, {"prompt_tokens": 3, "completion_tokens": 7})
    assert (record.first_token, record.first_content) == pytest.approx((at(0), at(4)))


def test_usage_of_every_event_is_that_of_the_last() -> None:
    events = [(at(i), {**completion(f" w{i}"), "usage": {"completion_tokens": i + 1}}) for i in range(5)]
    assert answered(events, None).output_tokens == 5


@pytest.mark.parametrize(
    ("gaps", "tokens", "wanted"),
    [
        ([1.0, 2.0], 2, [1.0, 2.0]),
        ([1.0, 2.0], 3, [1.0, 1.0, 1.0]),
        ([0.0, 4.0], 3, [0.0, 2.0, 2.0]),
        ([0.0, 0.0], 5, [0.0, 0.0]),
        ([], 5, []),
        ([1.0, 2.0], 0, [1.0, 2.0]),
        ([2.0, 2.0], 5, [2.0 / 3] * 3 + [1.0, 1.0]),
        ([5.0, 15.0, 5.1], 5, [5.0, 5.0, 5.0, 5.0, 5.1]),
    ],
)
def test_gaps_shared_among_tokens(gaps: list[float], tokens: int, wanted: list[float]) -> None:
    assert gaps_of_tokens(np.asarray(gaps), tokens).tolist() == pytest.approx(wanted)


def test_sharing_keeps_number_and_sum() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        gaps = rng.choice([0.0, 0.005, 0.0051, 0.02, 1e-7], size=rng.integers(1, 40))
        tokens = int(gaps.size + rng.integers(0, 60))
        found = gaps_of_tokens(gaps, tokens)
        assert found.sum() == pytest.approx(gaps.sum())
        assert found.size == (tokens if (gaps > 0).any() else gaps.size)
        assert (found == 0).sum() == (gaps == 0).sum()
