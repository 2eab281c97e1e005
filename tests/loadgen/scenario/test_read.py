"""Scenarios from YAML: what is read, and errors that name file, line and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.scenario.read import Overrides, load_scenario, packaged_names, packaged_text, read_scenario
from loadgen.scenario.scenario import Scenario

FULL = """
name: full
description: everything at once
target: http://127.0.0.1:8080
model: base
seed: 7
duration: 30s
processes: 2
slo: {ttft: 300ms, e2e: 5s}
defaults:
  headers: {X-Team: a}
  timeout: 20s
classes:
  chat:
    api: chat
    arrival: {process: gamma, burstiness: 0.5, rate: 20}
    sessions: {turns: {min: 2, max: 5}, think: {mean: 2s, distribution: exponential}}
    prefix: {groups: 8, tokens: 512, zipf: 1.1}
    objective: food-review
    retry: {attempts: 3, backoff: 100ms}
  loras:
    arrival: {rate: 5, to: 50, shape: exponential}
    adapters: {a: 3, b: 1}
    input_tokens: {mean: 100, stddev: 20}
    output_tokens: {values: [8, 16], weights: [3, 1]}
    headers: {x-team: b}
  users:
    arrival: {users: 8, think: 500ms, requests: 100}
    cancel_after: {tokens: 5, share: 30%}
expect:
- ttft.p99 < 300ms
timeline:
- {at: 10s, name: kill, run: simfleet kill pod-1}
- {at: 12s, url: "http://127.0.0.1:9/x", method: put, body: "{}"}
arms:
  page: {setup: up a, teardown: down, target: "http://127.0.0.1:1", env: {A: b}}
  other: {setup: up b}
scrape: {fleet: simfleet ps --format json, interval: 500ms}
"""


def read(text: str) -> Scenario:
    return read_scenario(text, "x.yaml")


def test_a_full_scenario() -> None:
    scenario = read(FULL)
    chat, loras, users = scenario.classes
    assert (scenario.seed, scenario.processes, scenario.slo) == (7, 2, {"ttft": 0.3, "e2e": 5.0})
    assert chat.path == "/v1/chat/completions"
    assert chat.arrival.burstiness == 0.5
    assert chat.arrival.stages[0].duration == 30.0
    assert chat.headers == {"x-team": "a", "x-gateway-inference-objective": "food-review"}
    assert chat.retry.attempts == 3
    assert chat.workload.sessions is not None
    assert chat.workload.sessions.think.mean == 2.0
    assert chat.timeout == loras.timeout == 20.0
    assert [(share.name, share.weight, share.adapter) for share in loras.models] == [
        ("a", 3, True),
        ("b", 1, True),
    ]
    assert loras.headers == {"x-team": "b"}
    assert loras.arrival.stages[0].end_rate == 50
    assert users.arrival.process == "closed"
    assert users.cancel_share == 0.3
    assert [expectation.line for expectation in scenario.expect] == [
        FULL[: FULL.index("- ttft.p99")].count("\n") + 1
    ]
    assert [event.at for event in scenario.timeline] == [10.0, 12.0]
    assert scenario.timeline[1].method == "PUT"
    assert [arm.name for arm in scenario.arms] == ["page", "other"]
    assert scenario.scrape is not None
    assert scenario.scrape.interval == 0.5


def test_inference_perfs_load_can_be_pasted() -> None:
    scenario = read(
        """
model: m
load:
  type: poisson
  interval: 5
  stages:
  - rate: 10
    duration: 60
  - rate: 20
    duration: 30
  num_workers: 4
  worker_max_concurrency: 100
classes:
  a: {weight: 3}
  b: {weight: 1}
"""
    )
    a, b = scenario.classes
    assert [(stage.rate, stage.duration) for stage in a.arrival.stages] == [(7.5, 60), (0, 5), (15, 30)]
    assert [stage.rate for stage in b.arrival.stages] == [2.5, 0, 5]
    closed = read(
        "model: m\nload: {type: concurrent, stages: [{num_requests: 50, concurrency_level: 4}]}\ndefaults: {}"
    )
    assert (closed.classes[0].arrival.users, closed.classes[0].arrival.requests) == (4, 50)


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        (
            "rate: 20}",
            "rate: twenty}",
            "x.yaml:16: classes.chat.arrival.rate: must be a number, not 'twenty'",
        ),
        ("process: gamma", "process: gama", "did you mean gamma?"),
        ("timeout: 20s", "timeot: 20s", "x.yaml:12: defaults.timeot: unknown key; did you mean `timeout`?"),
        ("think: {mean: 2s", "think: {mean: 2 parsecs", "must be a duration such as 30s"),
        ("share: 30%", "share: 130%", "must be between 0 and 1"),
        ("turns: {min: 2, max: 5}", "turns: {min: 5, max: 2}", "max 2 is below min 5"),
        ("weights: [3, 1]", "weights: [3]", "2 values and 1 weights"),
        ("groups: 8", "groups: 0", "must be at least 1, not 0"),
        ("name: full", "name: [", "not YAML"),
        ("seed: 7", "seed: 7\nseed: 8", "x.yaml:7: seed: stands twice"),
        ("burstiness: 0.5, ", "burstiness: 0.5, stages: [], ", "needs either `rate:` or `stages:`"),
        (
            "process: gamma, burstiness",
            "process: poisson, burstiness",
            "only `process: gamma` has a burstiness",
        ),
        ("run: simfleet kill pod-1", "url: x, run: y", "needs either `run:`"),
        ("api: chat", "api: chat\n    form: tokens", "goes with synthetic and trace prompts only"),
        ("{X-Team: a}", '{X-Team: "a\\nb: c"}', "holds a line break"),
    ],
)
def test_errors_say_where_what_and_what_would_be_right(wrong: str, right: str, message: str) -> None:
    assert wrong in FULL
    with pytest.raises(ScenarioError) as caught:
        read(FULL.replace(wrong, right, 1))
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("model: m", "needs `classes:`"),
        ("model: m\nclasses: {}", "holds no class"),
        ("classes: {a: {arrival: {rate: 1, duration: 1}}}", "needs `model:`"),
        ("model: m\nclasses: {a: {}}", "needs `arrival:`"),
        ("model: m\nclasses: {a: {arrival: {rate: 1}}}", "needs `duration:` or `requests:`"),
        ("model: m\nclasses: {a: {arrival: {process: trace}}}", "needs the class's `trace:`"),
        ("model: m\nclasses: {a: {trace: {file: no.csv, format: azure}, arrival: {}}}", "no such file"),
        (
            "model: m\nclasses: {a: {prompt: x, preset: chat, arrival: {rate: 1, duration: 1}}}",
            "one source of prompts",
        ),
    ],
)
def test_what_is_missing_is_named(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read(text)


def test_the_command_line_lies_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(FULL)
    over = Overrides(
        model="other",
        target="http://127.0.0.1:9",
        seed=1,
        duration=5.0,
        processes=4,
        extra={"grace": "2s", "expect": ["ttft.p50 < 1s"], "scrape": {"pods": ["127.0.0.1:8000"]}},
    )
    scenario = load_scenario(str(path), over)
    assert (scenario.target, scenario.seed, scenario.processes, scenario.grace) == (
        "http://127.0.0.1:9",
        1,
        4,
        2.0,
    )
    assert scenario.classes[0].models[0].name == "other"
    assert scenario.classes[0].arrival.stages[0].duration == 5.0
    assert [expectation.text for expectation in scenario.expect] == ["ttft.p99 < 300ms", "ttft.p50 < 1s"]
    assert scenario.scrape is not None
    assert scenario.scrape.pods == ("127.0.0.1:8000",)
    with pytest.raises(ScenarioError, match=r"command line: grace: must be a duration"):
        load_scenario(str(path), Overrides(extra={"grace": "soon"}))


def test_a_scenario_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no such file, and no packaged scenario of that name .*steady"):
        load_scenario(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ScenarioError, match=r"latin\.yaml: cannot be read: 'utf-8' codec"):
        load_scenario(str(tmp_path / "latin.yaml"))


def test_a_packaged_scenario_by_its_name_and_a_file_of_that_name_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_scenario("steady").source == "steady.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steady").write_text("name: mine\nmodel: m\ndefaults: {arrival: {rate: 1, requests: 1}}\n")
    assert load_scenario("steady").name == "mine"


def test_a_scenario_carries_its_text_and_its_place() -> None:
    scenario = read(FULL)
    assert (scenario.text, scenario.source) == (FULL, "x.yaml")
    lines = FULL.splitlines()
    for spec in scenario.classes:
        assert lines[spec.line - 1] == f"  {spec.name}:"
    for event in scenario.timeline:
        assert event.name in lines[event.line - 1]
    for arm in scenario.arms:
        assert lines[arm.line - 1].startswith(f"  {arm.name}:")


def test_a_model_on_the_command_line_leaves_those_of_classes_alone() -> None:
    arrival = "arrival: {rate: 1, requests: 1}"
    text = f"model: m\nclasses: {{a: {{model: own, {arrival}}}, b: {{{arrival}}}}}"
    a, b = read_scenario(text, "x.yaml", None, Overrides(model="given")).classes
    assert (a.models[0].name, b.models[0].name) == ("own", "given")


def test_a_seed_of_zero_on_the_command_line_counts() -> None:
    text = "seed: 5\nmodel: m\ndefaults: {arrival: {rate: 1, requests: 1}}"
    assert read_scenario(text, "x.yaml", None, Overrides(seed=0)).seed == 0
    assert read_scenario(text, "x.yaml", None, Overrides()).seed == 5


@pytest.mark.parametrize("name", packaged_names())
def test_packaged_scenarios_are_read_and_describe_themselves(name: str) -> None:
    scenario = read_scenario(packaged_text(name), f"{name}.yaml")
    assert scenario.name == name
    assert scenario.description
    assert scenario.expect
