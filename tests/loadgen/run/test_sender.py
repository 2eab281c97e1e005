"""The schedule as it is kept: open and closed loops, sessions, retries, what is late and what is missed."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from pathlib import Path

import pytest

from loadgen.records.records import Record
from tests.loadgen.drive import drive
from tests.loadgen.fakes import (
    DONE,
    FakeServer,
    Reply,
    Script,
    Seen,
    event,
    good_stream,
    plain,
    sse_head,
    token,
    usage,
)


def run(tmp_path: Path, text: str, script: Script, **options: object) -> tuple[list[Record], FakeServer]:
    async def main() -> tuple[list[Record], FakeServer]:
        async with FakeServer(script) as server:
            return await drive(tmp_path, text, server.url, **options), server  # type: ignore[arg-type]

    return asyncio.run(main())


async def good(_: Seen, reply: Reply) -> None:
    await reply.send(good_stream(3))


def test_every_planned_request_is_sent_once_at_its_time(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: constant, rate: 100, duration: 1s}, input_tokens: 5, output_tokens: 3}
"""
    records, server = run(tmp_path, text, good)
    assert [record.outcome for record in records] == ["ok"] * 100
    assert [round(record.intended, 4) for record in records] == [round(i / 100, 4) for i in range(100)]
    assert {seen.headers["x-request-id"] for seen in server.seen} == {record.id for record in records}
    for record in records:
        assert record.start is not None
        assert record.start >= record.intended - 1e-6
        assert (record.prompt_tokens, record.cached_tokens, record.output_tokens) == (10, 4, 3)
        assert record.pod == "pod-0"
        assert record.chunk_times is not None
        assert len(record.chunk_times) == 3


def test_two_workers_share_the_plan_and_nothing_else(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {rate: 200, duration: 0.5s}, input_tokens: 5}
  b: {arrival: {rate: 50, duration: 0.5s}, input_tokens: 5, sessions: {turns: 2, think: 10ms}}
"""

    async def main() -> tuple[list[Record], list[Record], int]:
        async with FakeServer(good) as server:
            both = [await drive(tmp_path, text, server.url, worker=w, workers=2) for w in (0, 1)]
            return both[0], both[1], len(server.seen)

    first, second, seen = asyncio.run(main())
    ids = [record.id for record in (*first, *second)]
    assert len(ids) == len(set(ids)) == seen
    sessions = [{record.session for record in part if record.session} for part in (first, second)]
    assert sessions[0]
    assert not sessions[0] & sessions[1]


def test_the_prompt_of_a_later_turn_holds_the_real_answers(tmp_path: Path) -> None:
    text = """
model: m
defaults: {api: chat, arrival: {process: burst, size: 1}}
classes:
  a: {sessions: {turns: 3, think: 20ms}, input_tokens: 4, session_token: true}
"""
    turn = itertools.count()

    async def script(_: Seen, reply: Reply) -> None:
        number = next(turn)
        delta = {"choices": [{"index": 0, "delta": {"content": f'said "{number}"'}}]}
        await reply.send(sse_head(x_session_token=f"tok{number}"), event(delta), event(usage(1, 1)), DONE)

    records, server = run(tmp_path, text, script)
    assert [record.turn for record in records] == [0, 1, 2]
    bodies = [seen.json["messages"] for seen in server.seen]
    assert [len(body) for body in bodies] == [1, 3, 5]  # type: ignore[arg-type]
    assert bodies[2][:3] == bodies[1]  # type: ignore[index]
    assert bodies[2][1] == {"role": "assistant", "content": 'said "0"'}  # type: ignore[index]
    assert bodies[2][3]["content"] == 'said "1"'  # type: ignore[index]
    assert [seen.headers.get("x-session-token") for seen in server.seen] == [None, "tok0", "tok1"]
    for before, after in itertools.pairwise(records):
        assert before.end is not None
        assert after.intended == pytest.approx(before.end + 0.02, abs=1e-3)


def test_a_failed_turn_ends_its_session_and_the_rest_is_skipped(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: burst, size: 1}, sessions: {turns: 3}, input_tokens: 4}
"""

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(429, {"error": {"message": "busy"}}))

    records, server = run(tmp_path, text, script)
    assert [record.outcome for record in records] == ["shed_429", "skipped", "skipped"]
    assert len(server.seen) == 1
    records, server = run(tmp_path, text.replace("turns: 3", "turns: 3, on_error: continue"), script)
    assert len(server.seen) == 3


def test_a_closed_loop_keeps_its_users_busy_and_no_more(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {users: 4, requests: 40}, input_tokens: 4}
"""
    running = most = 0

    async def script(_: Seen, reply: Reply) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        await reply.send(good_stream(2))

    records, _ = run(tmp_path, text, script)
    assert len(records) == 40
    assert most == 4


def test_think_time_passes_between_a_users_requests(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {users: 1, requests: 4, think: 50ms}, input_tokens: 4}
"""
    records, _ = run(tmp_path, text, good)
    for before, after in itertools.pairwise(records):
        assert before.end is not None
        assert after.intended == pytest.approx(before.end + 0.05, abs=1e-3)


def test_a_closed_loop_by_time_wraps_its_requests_under_other_ids(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {users: 8, duration: 2s}, input_tokens: 4}
"""
    records, server = run(tmp_path, text, good)
    assert len(records) > 200, "the pool has 200 requests; loopback does more in 2 s"
    assert len({record.id for record in records}) == len(records)
    assert any(record.id.endswith("#2") for record in records)
    assert {seen.headers["x-request-id"] for seen in server.seen} == {record.id for record in records}
    assert max(record.intended for record in records) <= 2


def test_a_user_who_is_refused_waits_before_asking_again(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {users: 2, requests: 8, pause_on_error: 60ms}, input_tokens: 4}
"""

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(429, {"error": {"message": "busy"}}))

    records, _ = run(tmp_path, text, script, max_in_flight=1)
    assert [record.outcome for record in records] == ["shed_429"] * 8
    ends = [record.end for record in records if record.end is not None]
    for record in sorted(records, key=lambda record: record.intended)[2:]:
        assert any(record.intended == pytest.approx(end + 0.06, abs=1e-3) for end in ends)


def test_retries_honour_retry_after_and_record_each_attempt(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: burst, size: 1}, input_tokens: 4, retry: {attempts: 3, backoff: 10s}}
"""
    tries = itertools.count()

    async def script(_: Seen, reply: Reply) -> None:
        if next(tries) < 2:
            await reply.send(plain(429, {"error": {"message": "busy"}}, retry_after="0.1"))
        else:
            await reply.send(good_stream(1))

    (record,), server = run(tmp_path, text, script)
    assert record.outcome == "ok"
    assert record.attempt == 3
    assert [attempt.outcome for attempt in record.attempts] == ["shed_429", "shed_429", "ok"]
    assert record.attempts[0].retry_after == 0.1
    first, second = record.attempts[0], record.attempts[1]
    assert first.end is not None
    assert 0.1 - 1e-6 <= second.start - first.end < 9, "the header's time, and not the backoff"
    assert record.start == first.start
    assert len({seen.body for seen in server.seen}) == 1


def test_without_a_policy_nothing_is_tried_twice(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 2}, input_tokens: 4}}"

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(503, "no healthy upstream", retry_after="0.01"))

    records, server = run(tmp_path, text, script)
    assert [record.outcome for record in records] == ["gateway_503"] * 2
    assert [record.attempts for record in records] == [[], []]
    assert len(server.seen) == 2


def test_what_cannot_be_sent_is_missed_and_recorded(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 10}, input_tokens: 4}}"

    async def script(_: Seen, reply: Reply) -> None:
        await asyncio.sleep(0.1)
        await reply.send(good_stream(1))

    records, server = run(tmp_path, text, script, max_in_flight=4)
    outcomes = [record.outcome for record in records]
    assert outcomes.count("ok") == len(server.seen) == 4
    assert outcomes.count("missed") == 6
    missed = next(record for record in records if record.outcome == "missed")
    assert missed.start is None
    assert "limit" in (missed.error or "")


def test_a_blocked_client_is_late_on_the_record_and_keeps_its_schedule(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: constant, rate: 100, duration: 1s}, input_tokens: 4}}"

    async def main() -> list[Record]:
        async with FakeServer(good) as server:
            asyncio.get_running_loop().call_later(0.3, time.sleep, 0.3)
            return await drive(tmp_path, text, server.url)

    records = asyncio.run(main())
    assert len(records) == 100
    late = [record.start - record.intended for record in records if record.start is not None]
    assert max(late) > 0.2
    assert sum(each > 0.01 for each in late) >= 25
    assert min(late[70:]) < 0.05, "what was due in the block went out at once; the rest keeps its own times"


def test_a_server_that_stalls_shows_in_every_request_due_in_that_time(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: constant, rate: 50, duration: 2s}, input_tokens: 4}}"
    arrived = itertools.count()
    over = asyncio.Event()

    async def script(_: Seen, reply: Reply) -> None:
        number = next(arrived)
        if 25 <= number < 75:
            await over.wait()
        elif number == 75:
            over.set()
        await reply.send(good_stream(1))

    records, server = run(tmp_path, text, script)
    held = {seen.headers["x-request-id"] for seen in server.seen[25:75]}
    assert len(records) == 100
    free = []
    for record in records:
        assert record.first_token is not None
        latency = record.first_token - record.intended
        if record.id in held:
            assert latency >= 1.5 - record.intended - 1e-6, "the 76th, due at 1.5 s, ended the stall"
        else:
            free.append(latency)
    assert statistics.median(free) < 0.3


def test_stopping_leaves_no_request_without_a_word(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: constant, rate: 50, duration: 4s}, input_tokens: 4}}"
    records, server = run(tmp_path, text, good, stop_after=0.5)
    assert 15 <= len(records) < 200, "of 200 planned"
    assert all(record.start is not None or record.outcome == "missed" for record in records)
    assert len(server.seen) == sum(record.start is not None for record in records)


def test_a_client_that_leaves_early(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: burst, size: 20}, input_tokens: 4, cancel_after: {tokens: 2, share: 50%}}
"""

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(sse_head())
        for number in range(6):
            await reply.send(event(token(f" w{number}")))
            await asyncio.sleep(0.01)
        await reply.send(event(usage(3, 6)), DONE)

    records, _ = run(tmp_path, text, script)
    outcomes = {record.outcome for record in records}
    assert outcomes == {"ok", "client_cancel"}


def test_prompts_of_token_ids_and_bodies_of_the_other_apis(tmp_path: Path) -> None:
    text = """
model: m
defaults: {arrival: {process: burst, size: 1}, input_tokens: 7, max_tokens: 9}
classes:
  ids: {form: tokens, prefix: {groups: 1, tokens: 5}, body: {temperature: 0}}
  chat: {api: chat, stream: false, ignore_eos: true, objective: food, priority: -1}
  responses: {api: responses, slo_headers: {ttft: 200ms, tpot: 20ms}, fairness_id: tenant-a}
"""

    async def script(seen: Seen, reply: Reply) -> None:
        await reply.send(plain(200, {"choices": [], "output": []}))

    _, server = run(tmp_path, text, script)
    by_path = {seen.path: seen for seen in server.seen}
    ids = by_path["/v1/completions"].json
    assert [type(each) for each in ids["prompt"]] == [int] * 12  # type: ignore[attr-defined]
    assert ids["temperature"] == 0
    assert ids["stream_options"] == {"include_usage": True}
    chat = by_path["/v1/chat/completions"]
    assert chat.json["ignore_eos"] is True
    assert chat.json["priority"] == -1
    assert "stream" not in chat.json
    assert chat.headers["x-gateway-inference-objective"] == "food"
    responses = by_path["/v1/responses"]
    assert responses.json["max_output_tokens"] == 9
    assert "stream_options" not in responses.json
    assert responses.headers["x-slo-ttft-ms"] == "200"
    assert responses.headers["x-slo-tpot-ms"] == "20"
    assert responses.headers["x-gateway-inference-fairness-id"] == "tenant-a"


NAMED = """
model: m
classes:
  a:
    arrival: {process: constant, rate: 100, duration: 50ms}
    input_tokens: 5
    HEADERS
"""


def test_requests_name_themselves_to_gateways_under_their_run(tmp_path: Path) -> None:
    records, server = run(tmp_path, NAMED.replace("HEADERS", ""), good, run="0a1b")
    names = {seen.headers["x-client-request-id"] for seen in server.seen}
    assert names == {f"0a1b/{record.id}" for record in records}
    assert [record.answer_id for record in records] == ["cmpl-1"] * 5


def test_what_the_user_says_of_request_ids_is_kept(tmp_path: Path) -> None:
    own = "headers: {X-Request-Id: mine, X-Client-Request-Id: mine too}"
    _, server = run(tmp_path, NAMED.replace("HEADERS", own), good, run="0a1b")
    found = {(seen.headers["x-request-id"], seen.headers["x-client-request-id"]) for seen in server.seen}
    assert found == {("mine", "mine too")}


def test_a_closed_loop_that_begins_again_keeps_the_users_request_id(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: closed, users: 1, duration: 300ms}, input_tokens: 5, headers: {x-request-id: mine}}
"""
    records, server = run(tmp_path, text, good, run="0a1b")
    assert len(records) > 200  # so many different requests has the plan
    assert {seen.headers["x-request-id"] for seen in server.seen} == {"mine"}
    named = {seen.headers["x-client-request-id"] for seen in server.seen}
    assert {f"0a1b/{record.id}" for record in records} == named
    assert any(record.id.endswith("#2") for record in records)
