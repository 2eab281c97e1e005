"""A plan put in its place: what is copied, what is counted, how many workers there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import RunError, ScenarioError
from loadgen.plan.plan import ClassPlan, PlannedRequest, load_plan, read_plan
from loadgen.plan.prepare import PlanInfo, prepare_plan, worker_processes
from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Scenario


def scenario(classes: str, processes: int = 1) -> Scenario:
    return read_scenario(f"model: m\nprocesses: {processes}\nclasses: {{{classes}}}", "s.yaml")


OPEN = "a: {arrival: {process: constant, rate: 10, duration: 2s}, output_tokens: 6, prompt: x}"
USERS = "u: {arrival: {users: 4, requests: 8}, output_tokens: 2, prompt: x}"


def test_a_built_plan_and_what_is_told_of_it(tmp_path: Path) -> None:
    info = prepare_plan(scenario(OPEN), None, tmp_path / "p.jsonl")
    assert (info.planned, info.tokens, info.rate, info.processes) == (20, 6.0, 10.0, 1)
    assert (info.models, info.authorization) == ({"m"}, {})
    assert len(load_plan(tmp_path / "p.jsonl").requests) == 20


def test_closed_loops_have_no_rate(tmp_path: Path) -> None:
    info = prepare_plan(scenario(f"{OPEN}, {USERS}"), None, tmp_path / "p.jsonl")
    assert (info.planned, info.rate) == (28, None)
    assert info.tokens == pytest.approx((20 * 6 + 8 * 2) / 28)


def test_a_given_plan_is_copied_byte_for_byte_and_counted_alike(tmp_path: Path) -> None:
    built = prepare_plan(scenario(OPEN), None, tmp_path / "a.jsonl")
    copied = prepare_plan(scenario(OPEN), tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert (copied.planned, copied.tokens, copied.rate) == (built.planned, built.tokens, built.rate)
    same = prepare_plan(scenario(OPEN), tmp_path / "a.jsonl", tmp_path / "a.jsonl")
    assert same.planned == 20


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_parts_are_counted_as_their_workers_read_them(tmp_path: Path, parts: int, processes: int) -> None:
    path = tmp_path / "p.jsonl"
    counted = []
    for part in range(parts):
        info = prepare_plan(scenario(OPEN, processes), None, path, parts, part)
        workers = range(part * processes, (part + 1) * processes)
        lines = [line for worker in workers for line in read_plan(path, worker, parts * processes)]
        assert info.planned == sum(isinstance(line, PlannedRequest) for line in lines)
        counted.append(info.planned)
    assert sum(counted) == 20


def test_a_key_among_the_headers_is_known_before_the_run(tmp_path: Path) -> None:
    classes = OPEN.replace("prompt: x", "prompt: x, headers: {Authorization: Bearer k}")
    asked = scenario(classes)
    info = prepare_plan(asked, None, tmp_path / "p.jsonl")
    assert "Bearer k" not in (tmp_path / "p.jsonl").read_text()
    assert asked.secrets.reveal_all(info.authorization) == {"authorization": "Bearer k"}


def test_models_of_a_plan(tmp_path: Path) -> None:
    classes = OPEN.replace("prompt: x", "prompt: x, adapters: [l, k]")
    info: PlanInfo = prepare_plan(scenario(classes), None, tmp_path / "p.jsonl")
    assert info.models == {"k", "l"}


def test_a_plan_without_a_request_is_refused(tmp_path: Path) -> None:
    tiny = "a: {arrival: {rate: 0.001, duration: 1ms}}"
    with pytest.raises(ScenarioError) as caught:
        prepare_plan(scenario(tiny), None, tmp_path / "p.jsonl")
    assert str(caught.value) == (
        "the plan holds no request: rates and durations are too small for a single one"
    )


def test_plans_that_cannot_be_read_or_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.jsonl: cannot be read: No such file"):
        prepare_plan(scenario(OPEN), tmp_path / "none.jsonl", tmp_path / "p.jsonl")
    prepare_plan(scenario(OPEN), None, tmp_path / "p.jsonl")
    with pytest.raises(RunError, match=r"cannot write .*no/p\.jsonl: No such file"):
        prepare_plan(scenario(OPEN), tmp_path / "p.jsonl", tmp_path / "no" / "p.jsonl")
    with pytest.raises(RunError, match=r"cannot write .*no/p\.jsonl: No such file"):
        prepare_plan(scenario(OPEN), None, tmp_path / "no" / "p.jsonl")


@pytest.mark.parametrize(
    ("users", "wanted", "parts", "processes"),
    [([], 8, 1, 8), ([4], 8, 1, 4), ([4], 2, 1, 2), ([9, 4], 8, 2, 2), ([5], 8, 5, 1), ([3, 64], 4, 1, 3)],
)
def test_every_worker_has_a_user_of_every_closed_loop(
    users: list[int], wanted: int, parts: int, processes: int
) -> None:
    classes = {f"c{count}": ClassPlan(users=count) for count in users} | {"open": ClassPlan()}
    assert worker_processes(classes, wanted, parts) == processes


def test_more_machines_than_users_are_refused() -> None:
    with pytest.raises(ScenarioError, match="3 users cannot be split over 4 machines"):
        worker_processes({"a": ClassPlan(users=3), "b": ClassPlan(users=9)}, 1, 4)
