"""What a worker has to send: units out of a plan, users and their turns, waits between tries."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.client.exchange import Exchange
from loadgen.plan.build import build_plan
from loadgen.plan.plan import ClassPlan, PlannedRequest, RetryPlan, load_plan, read_plan_header, write_plan
from loadgen.records.records import Attempt
from loadgen.run.jobs import ClosedClass, Job, PlanCursor, Unit, users_of_worker
from loadgen.run.outcome import attempt_of, record_of, relative, relative_times, retry_delay
from loadgen.run.sender import unsent_record
from loadgen.scenario.read import read_scenario

TEXT = """
model: m
classes:
  single: {arrival: {process: constant, rate: 10, duration: 1s}, prefix: {groups: 2, tokens: 4}}
  talk:
    arrival: {process: constant, rate: 5, duration: 1s}
    sessions: {turns: 3}
    prompt: said by somebody
  users: {arrival: {users: 4, requests: 8}}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(TEXT, "x.yaml")))
    return tmp_path / "p.jsonl"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_units_are_whole_and_their_bodies_those_of_the_plan(plan: Path, workers: int) -> None:
    whole = load_plan(plan)
    bodies = {request.id: whole.body(request, {0: "a", 1: "b"}) for request in whole.requests}
    seen: list[str] = []
    for worker in range(workers):
        cursor = PlanCursor(plan, read_plan_header(plan), worker, workers)
        for unit in cursor:
            unit.answers = {0: "a", 1: "b"}
            assert len(unit.requests) == (3 if unit.requests[0].cls == "talk" else 1)
            assert unit.is_session == (len(unit.requests) > 1)
            for turn, request in enumerate(unit.requests):
                seen.append(request.id)
                assert unit.body(turn, cursor.shared) == bodies[request.id]
        assert cursor.exhausted
        assert cursor.next_unit() is None
    assert sorted(seen) == sorted(bodies)


def test_texts_of_one_session_are_forgotten_with_it(plan: Path) -> None:
    cursor = PlanCursor(plan, read_plan_header(plan), 0, 1)
    units = list(cursor)
    assert all(len(unit.texts) == 3 for unit in units if unit.is_session)
    assert all(not unit.texts for unit in units if not unit.is_session)
    assert not cursor.shared


def request(number: int = 0, **more: object) -> PlannedRequest:
    return PlannedRequest(slot=number, id=f"r{number}", cls="c", body=["{}"], **more)  # type: ignore[arg-type]


def closed(requests: int, *, wrap: bool = False, users: int = 1) -> ClosedClass:
    spec = ClassPlan(users=users, wrap=wrap)
    made = ClosedClass("c", spec, users)
    made.units.extend(Unit(spec, [request(number)], {}) for number in range(requests))
    return made


def test_units_are_taken_once() -> None:
    made = closed(2)
    units = [made.take() for _ in range(3)]
    assert [unit and unit.requests[0].id for unit in units] == ["r0", "r1", None]


def test_units_are_taken_again_by_another_name_when_time_outlasts_them() -> None:
    made = closed(2, wrap=True)
    taken = [made.take() for _ in range(6)]
    assert [unit and (unit.requests[0].id, unit.worker_round) for unit in taken] == [
        ("r0", 1), ("r1", 1), ("r0", 2), ("r1", 2), ("r0", 3), ("r1", 3),
    ]  # fmt: skip
    assert len({id(unit) for unit in taken}) == 6  # nobody inherits another's answers
    assert closed(0, wrap=True).take() is None


@given(st.integers(1, 500), st.integers(1, 40))
def test_users_are_shared_out_evenly(users: int, workers: int) -> None:
    shares = [users_of_worker(users, worker, workers) for worker in range(workers)]
    assert sum(shares) == users
    assert max(shares) - min(shares) <= 1


# --- waits between tries -------------------------------------------------------------------------


def tries(count: int, asked: float | None = None) -> list[Attempt]:
    return [Attempt(start=0.0, retry_after=asked) for _ in range(count)]


@pytest.mark.parametrize(
    ("retry", "count", "jitter", "delay"),
    [
        (RetryPlan(jitter=0.0), 1, 0.5, 0.5),
        (RetryPlan(jitter=0.0), 2, 0.5, 1.0),
        (RetryPlan(jitter=0.0), 4, 0.5, 4.0),
        (RetryPlan(jitter=0.0), 9, 0.5, 30.0),
        (RetryPlan(jitter=0.0, factor=1.0), 9, 0.5, 0.5),
        (RetryPlan(jitter=0.5), 1, 0.0, 0.25),
        (RetryPlan(jitter=0.5), 1, 0.5, 0.5),
        (RetryPlan(jitter=0.5), 1, 1.0, 0.75),
        (RetryPlan(jitter=0.0), 3000, 0.5, 30.0),  # 2 ** 2999 is no float
    ],
)
def test_waits_grow_to_their_limit(retry: RetryPlan, count: int, jitter: float, delay: float) -> None:
    assert retry_delay(retry, tries(count), jitter) == delay


@pytest.mark.parametrize(("honour", "delay"), [(True, 7.0), (False, 0.5)])
def test_what_the_server_asks_for_wins_where_it_is_honoured(honour: bool, delay: float) -> None:
    assert retry_delay(RetryPlan(jitter=0.0, retry_after=honour), tries(1, 7.0), 0.5) == delay


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True), st.floats(1, 10), st.floats(0, 1))
def test_waits_keep_to_their_bounds(count: int, jitter: float, factor: float, spread: float) -> None:
    retry = RetryPlan(backoff=0.1, factor=factor, max_backoff=9.0, jitter=spread)
    delay = retry_delay(retry, tries(count), jitter)
    assert 0.1 * (1 - spread) - 1e-9 <= delay <= 9.0 * (1 + spread) + 1e-9


# --- records -------------------------------------------------------------------------------------


def test_moments_are_relative_to_the_start() -> None:
    assert relative(None, 100.0) is None
    assert relative(100.12345678, 100.0) == 0.1234568
    assert relative_times([100.1, 100.1, 100.25], 100.0) == [0.1, 0.1, 0.25]
    assert relative_times([], 100.0) == []


def exchange(outcome: str = "ok", **more: object) -> Exchange:
    made = Exchange(b"12345", lambda _: None)
    made.start, made.connected, made.first_byte, made.end = 100.5, 100.6, 100.7, 101.0
    made.outcome, made.status = outcome, 200
    for key, value in more.items():
        setattr(made, key, value)
    return made


def test_a_try_as_the_record_lists_it() -> None:
    headers = {"x-inference-pod": "p", "retry-after": "3"}
    made = attempt_of(exchange("shed_429", headers=headers, error="full", status=429), 100.0)
    assert made == Attempt(
        start=0.5, connected=0.6, first_byte=0.7, end=1.0, outcome="shed_429", status=429, error="full",
        pod="p", retry_after=3.0,
    )  # fmt: skip


def test_the_record_of_an_answer() -> None:
    asked = request(stage=2, model="m", adapter="a", group="g", session="s", turn=1, max_tokens=9)
    job = Job(Unit(ClassPlan(), [asked], {}), 0, 100.25)
    headers = {
        "x-inference-pod": "p", "x-inference-port": "8000", "x-inference-namespace": "n", "x-request-id": "i",
        "server": "uvicorn", "content-type": "x",
    }  # fmt: skip
    made = record_of(job, exchange(headers=headers, bytes_in=7, reused=True), 100.0, 3, keep_times=True)
    assert (made.id, made.cls, made.intended, made.start, made.end) == ("r0", "c", 0.25, 0.5, 1.0)
    assert (made.pod, made.port, made.namespace, made.headers) == ("p", "8000", "n", {"x-request-id": "i"})
    assert (made.stage, made.model, made.adapter, made.group) == (2, "m", "a", "g")
    assert (made.session, made.turn, made.max_tokens, made.worker) == ("s", 1, 9, 3)
    assert (made.attempt, made.attempts, made.reused) == (1, [], True)
    assert (made.bytes_in, made.bytes_out) == (7, 5)
    assert (made.first_token, made.output_tokens, made.chunk_times) == (None, None, None)


def test_a_retried_request_began_with_its_first_try() -> None:
    job = Job(Unit(ClassPlan(), [request()], {}), 0, 100.0)
    job.attempts = [
        Attempt(start=0.125, end=0.25, outcome="shed_429"),
        Attempt(start=0.5, end=1.0, outcome="ok"),
    ]
    made = record_of(job, exchange(), 100.0, 0, keep_times=False)
    assert (made.start, made.end, made.attempt) == (0.125, 1.0, 2)
    assert [each.outcome for each in made.attempts] == ["shed_429", "ok"]


def test_later_rounds_have_ids_of_their_own() -> None:
    unit = Unit(ClassPlan(), [request()], {})
    unit.worker_round = 3
    assert record_of(Job(unit, 0, 100.0), exchange(), 100.0, 0, keep_times=False).id == "r0#3"
    assert unsent_record(Job(unit, 0, 100.0), 100.0, 0, "missed", "why").id == "r0#3"


def test_what_was_not_sent_says_why() -> None:
    job = Job(Unit(ClassPlan(), [request(session="s", turn=0)], {}), 0, 100.5)
    made = unsent_record(job, 100.0, 2, "skipped", "run over")
    assert (made.outcome, made.error, made.intended, made.start, made.end) == (
        "skipped",
        "run over",
        0.5,
        None,
        None,
    )
    assert (made.session, made.turn, made.worker, made.attempt) == ("s", 0, 2, 1)
    job.attempts = [Attempt(start=0.5, end=0.75, status=429)]
    tried = unsent_record(job, 100.0, 2, "shed_429", "full")
    assert (tried.start, tried.end, tried.status, tried.attempt) == (0.5, 0.75, 429, 1)
