"""The plan: same seed, same bytes; slices without shared seeds; bodies replayed to the byte."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import (
    Answer,
    PlannedRequest,
    SharedText,
    join_body,
    load_plan,
    read_plan,
    read_plan_header,
    write_plan,
)
from loadgen.scenario.read import read_scenario

TEXT = """
name: plan
model: m
seed: 3
classes:
  steady:
    arrival: {rate: 50, duration: 20s}
    prefix: {groups: 4, tokens: 32, zipf: 1}
    adapters: {a: 3, b: 1}
    input_tokens: {mean: 40, stddev: 15, min: 5}
    output_tokens: {mean: 20, stddev: 10, distribution: lognormal}
  talk:
    api: chat
    arrival: {rate: 2, duration: 20s}
    sessions: {turns: {min: 2, max: 4}, think: 1s}
    input_tokens: 10
  users:
    arrival: {users: 3, requests: 12, think: {mean: 1s, distribution: exponential}}
    input_tokens: 6
"""


def written(path: Path, text: str = TEXT) -> bytes:
    write_plan(path, build_plan(read_scenario(text, "plan.yaml")))
    return path.read_bytes()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl")
    assert first == written(tmp_path / "b.jsonl")
    assert first != written(tmp_path / "c.jsonl", TEXT.replace("seed: 3", "seed: 4"))


def test_adding_a_class_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl")
    more = TEXT + "  late: {arrival: {rate: 5, duration: 20s}}\n"
    written(tmp_path / "b.jsonl", more)
    a, b = (load_plan(tmp_path / f"{name}.jsonl") for name in "ab")
    for cls in ("steady", "talk", "users"):
        mine = [(r.id, r.at, a.body(r)) for r in a.requests if r.cls == cls]
        assert mine == [(r.id, r.at, b.body(r)) for r in b.requests if r.cls == cls]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_slices_are_disjoint_and_whole(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    everything = [line for line in read_plan(path) if isinstance(line, PlannedRequest)]
    slices = []
    for worker in range(workers):
        lines = list(read_plan(path, worker, workers))
        texts = {line.text for line in lines if isinstance(line, SharedText)}
        mine = [line for line in lines if isinstance(line, PlannedRequest)]
        for request in mine:
            assert {piece for piece in request.body if isinstance(piece, int)} <= texts
        slices.append(mine)
    assert sorted(r.id for part in slices for r in part) == sorted(r.id for r in everything)
    for part in slices:
        times = [r.at for r in part if r.at is not None]
        assert times == sorted(times)
    sizes = [len(part) for part in slices]
    assert max(sizes) < 1.35 * min(sizes)


def test_bodies_are_json_and_their_lengths_are_planned(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    plan = load_plan(path)
    for request in plan.requests:
        body = json.loads(plan.body(request, {0: 'a "quoted"\nanswer'}))
        assert body["max_tokens"] == request.max_tokens
        assert body["model"] == request.model
        if request.cls == "steady":
            assert len(body["prompt"].split()) == request.prompt_tokens
            assert request.shared_tokens == 32
        assert request.headers["x-request-id"] == request.id


def test_groups_share_their_beginning_and_differ_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    plan = load_plan(path)
    beginnings: dict[str | None, set[str]] = {}
    rests: list[str] = []
    for request in plan.requests:
        if request.cls == "steady":
            words = json.loads(plan.body(request))["prompt"].split()
            beginnings.setdefault(request.group, set()).add(" ".join(words[:32]))
            rests.append(" ".join(words[32:]))
    assert set(beginnings) == {"g0", "g1", "g2", "g3"}
    assert all(len(texts) == 1 for texts in beginnings.values())
    assert len({next(iter(texts)) for texts in beginnings.values()}) == 4
    assert len(set(rests)) > 0.98 * len(rests)


def test_mixes_have_their_weights(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path, TEXT.replace("duration: 20s", "duration: 200s"))
    requests = [r for r in load_plan(path).requests if r.cls == "steady"]
    share = sum(r.adapter == "a" for r in requests) / len(requests)
    assert share == pytest.approx(0.75, abs=0.03)
    zipf = sum(r.group == "g0" for r in requests) / len(requests)
    assert zipf == pytest.approx(1 / (1 + 1 / 2 + 1 / 3 + 1 / 4), abs=0.03)


def test_a_hot_prefix_has_its_share(tmp_path: Path) -> None:
    text = TEXT.replace("tokens: 32, zipf: 1", "tokens: 32, hot: 80%").replace(
        "duration: 20s", "duration: 100s"
    )
    written(tmp_path / "p.jsonl", text)
    requests = [r for r in load_plan(tmp_path / "p.jsonl").requests if r.cls == "steady"]
    assert sum(r.group == "g0" for r in requests) / len(requests) == pytest.approx(0.8, abs=0.03)


def test_sessions_stand_together_and_grow(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    plan = load_plan(path)
    turns: dict[str, list[PlannedRequest]] = {}
    for request in plan.requests:
        if request.session is not None:
            turns.setdefault(request.session, []).append(request)
    assert turns
    for requests in turns.values():
        assert [r.turn for r in requests] == list(range(requests[0].turns or 0))
        assert len({r.slot for r in requests}) == 1
        assert [r.at is None for r in requests] == [False] + [True] * (len(requests) - 1)
        bodies = [json.loads(plan.body(r, {0: "A", 1: "B", 2: "C"}))["messages"] for r in requests]
        for shorter, longer in itertools.pairwise(bodies):
            assert longer[: len(shorter)] == shorter
            assert longer[len(shorter)]["role"] == "assistant"


def test_closed_loops_have_no_times_and_stand_first(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    plan = load_plan(path)
    assert [r.cls for r in plan.requests[:12]] == ["users"] * 12
    assert all(r.at is None and r.think > 0 for r in plan.requests[:12])
    assert plan.header.classes["users"].users == 3


def test_answers_are_escaped_into_their_place() -> None:
    body = join_body(['{"p":"', 7, Answer(0), Answer(1), '"}'], {7: "x"}, {0: 'q"\n\u00e9'})
    assert json.loads(body) == {"p": 'xq"\né'}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a plan"),
        (b"{}x", "is not a plan"),
        (b'{"plan":99}', "version 99"),
        (b'{"plan":1,"scenario":"\xff"}', r":1: is not a plan of `loadgen plan`: 'utf-8' codec"),
    ],
)
def test_what_is_no_plan(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        read_plan_header(path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[10] = b'{"slot":5,"id":\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(ScenarioError, match=r"p\.jsonl:11"):
        list(read_plan(path))


def test_megabyte_prompts(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 2}, input_tokens: 150000}}"
    written(tmp_path / "p.jsonl", text)
    plan = load_plan(tmp_path / "p.jsonl")
    bodies = [plan.body(r) for r in plan.requests]
    assert all(len(body) > 900_000 for body in bodies)
    assert hashlib.sha256(bodies[0]).digest() != hashlib.sha256(bodies[1]).digest()


def test_a_text_that_the_plan_does_not_hold_is_named() -> None:
    with pytest.raises(ScenarioError) as caught:
        join_body(["a", 7], {6: "x"}, {})
    assert str(caught.value) == "the plan is broken: a request holds text 7, no line before it does"
