"""The sender on a wire of its own: what follows what, without a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.client.exchange import Exchange
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.plan.build import build_plan
from loadgen.plan.plan import read_plan_header, write_plan
from loadgen.records.records import Record, RecordsHeader
from loadgen.records.table import read_records
from loadgen.run.jobs import ClosedClass, Job, PlanCursor
from loadgen.run.sender import Sender
from loadgen.scenario.read import read_scenario

Say = Callable[[str, int], tuple[str, dict[str, str]]]
"""By a request's id and the number of its try: the outcome and the headers of the answer."""


class ScriptedWire:
    """Answers each exchange in the next turn of the loop, as a script says; keeps what was rendered."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.opened = 0
        self.sent: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.most = self.flying = 0

    def render(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        self.headers.append(headers)
        return body

    def submit(self, exchange: Exchange) -> None:
        assert isinstance(exchange.owner, Job)
        identity = exchange.owner.request.id
        self.sent.append(identity)
        exchange.start = exchange.connected = time.monotonic()
        self.flying += 1
        self.most = max(self.most, self.flying)
        asyncio.get_running_loop().call_soon(self._answer, exchange, self.sent.count(identity))

    def _answer(self, exchange: Exchange, number: int) -> None:
        assert isinstance(exchange.owner, Job)
        self.flying -= 1
        outcome, headers = self.say(exchange.owner.request.id, number)
        if outcome != "reset":
            exchange.on_head(200 if outcome == "ok" else 429, headers)
        if outcome == "ok":
            exchange.on_data(b'{"choices":[{"text":"said"}]}', time.monotonic())
            exchange.complete(time.monotonic())
        else:
            exchange.fail(outcome, f"{outcome} by script", time.monotonic())

    def cancel_all(self, outcome: str, error: str) -> None:
        raise AssertionError("nothing is cancelled here")


def sent(
    tmp_path: Path, fields: str, say: Say, **options: int
) -> tuple[ScriptedWire, dict[str, Record], Sender]:
    """The wire, the records by id and the sender after a plan of one class has been sent to its end."""
    plan = tmp_path / "plan.jsonl"
    write_plan(plan, build_plan(read_scenario(f"model: m\nclasses: {{a: {{stream: false, {fields}}}}}", "x")))
    header = read_plan_header(plan)

    async def main() -> tuple[ScriptedWire, Sender]:
        loop, wire = asyncio.get_running_loop(), ScriptedWire(say)
        writer = JsonlWriter(tmp_path / "records.jsonl")
        writer.write(RecordsHeader())
        fatal: list[Exception] = []
        sender = Sender(
            loop, wire, PlanCursor(plan, header, 0, 1), writer, worker=0, chunk_times=False,
            max_in_flight=options.get("max_in_flight", 100), on_fatal=fatal.append,
        )  # fmt: skip
        spec = header.classes["a"]
        if spec.users is not None:
            sender.add_closed(ClosedClass("a", spec, spec.users))
        sender.read_closed()
        sender.fill()
        sender.start(time.monotonic())
        await asyncio.wait_for(asyncio.shield(sender.finished), 30)
        writer.close()
        sender.close()
        assert fatal == []
        return wire, sender

    wire, sender = asyncio.run(main())
    return wire, {record.id: record for record in read_records(tmp_path)}, sender


def fine(_: str, __: int) -> tuple[str, dict[str, str]]:
    return "ok", {}


def test_what_is_due_at_once_is_sent_in_the_plans_order(tmp_path: Path) -> None:
    wire, records, sender = sent(tmp_path, "arrival: {process: burst, size: 5}", fine)
    assert wire.sent == list(records) == [f"a-{n:06d}" for n in range(5)]
    assert sender.progress.outcomes == {"ok": 5}
    assert (sender.progress.sent, sender.progress.attempts, sender.progress.done) == (5, 5, 5)


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_turns_follow_each_other_or_end_with_a_failure(tmp_path: Path, on_error: str) -> None:
    def say(identity: str, _: int) -> tuple[str, dict[str, str]]:
        return ("reset" if identity.endswith(".1") else "ok"), {}

    fields = f"arrival: {{process: burst, size: 1}}, sessions: {{turns: 4, on_error: {on_error}}}"
    wire, records, _ = sent(tmp_path, fields, say)
    outcomes = [records[f"a-000000.{turn}"].outcome for turn in range(4)]
    if on_error == "abort":
        assert outcomes == ["ok", "reset", "skipped", "skipped"]
        assert records["a-000000.3"].error == "an earlier turn of the session failed"
        assert len(wire.sent) == 2
    else:
        assert outcomes == ["ok", "reset", "ok", "ok"]
        assert len(wire.sent) == 4


def test_tries_are_listed_and_end_with_the_first_answer(tmp_path: Path) -> None:
    def say(_: str, number: int) -> tuple[str, dict[str, str]]:
        return ("ok" if number == 3 else "shed_429"), {"retry-after": "0"}

    fields = "arrival: {process: burst, size: 1}, retry: {attempts: 5}"
    wire, records, sender = sent(tmp_path, fields, say)
    (record,) = records.values()
    assert [each.outcome for each in record.attempts] == ["shed_429", "shed_429", "ok"]
    assert (record.outcome, record.attempt, len(wire.sent)) == ("ok", 3, 3)
    assert (sender.progress.sent, sender.progress.attempts) == (1, 3)


@pytest.mark.parametrize(
    ("outcome", "tries"), [("shed_429", 3), ("connect_error", 3), ("rejected_4xx", 1), ("timeout", 1)]
)
def test_only_what_the_policy_names_is_tried_again(tmp_path: Path, outcome: str, tries: int) -> None:
    fields = "arrival: {process: burst, size: 1}, retry: {attempts: 3, backoff: 0}"
    wire, records, sender = sent(tmp_path, fields, lambda *_: (outcome, {}))
    (record,) = records.values()
    assert (len(wire.sent), record.outcome, record.error) == (tries, outcome, f"{outcome} by script")
    assert len(record.attempts) == (tries if tries > 1 else 0)
    assert sender.first_errors == {outcome: f"429 {outcome} by script"}


@pytest.mark.parametrize("users", [1, 3])
def test_users_have_one_request_each_under_way(tmp_path: Path, users: int) -> None:
    wire, records, _ = sent(tmp_path, f"arrival: {{users: {users}, requests: 12}}", fine)
    assert len(records) == len(wire.sent) == 12
    assert wire.most == users


def test_more_than_a_worker_may_have_under_way_is_missed(tmp_path: Path) -> None:
    wire, records, sender = sent(tmp_path, "arrival: {process: burst, size: 5}", fine, max_in_flight=2)
    outcomes = [records[f"a-{n:06d}"].outcome for n in range(5)]
    assert outcomes == ["ok", "ok", "missed", "missed", "missed"]
    assert records["a-000004"].error == "2 requests in flight, the limit of this worker"
    assert (wire.most, sender.progress.missed) == (2, 3)


def test_a_session_token_goes_along_with_the_next_turn(tmp_path: Path) -> None:
    def say(identity: str, _: int) -> tuple[str, dict[str, str]]:
        return "ok", {"x-session-token": f"after {identity}"}

    fields = "arrival: {process: burst, size: 1}, sessions: {turns: 3}, session_token: true"
    wire, _, _ = sent(tmp_path, fields, say)
    assert [headers.get("x-session-token") for headers in wire.headers] == [
        None, "after a-000000.0", "after a-000000.1",
    ]  # fmt: skip
