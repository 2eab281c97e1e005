"""A whole scenario at another rate."""

from __future__ import annotations

import pytest

from loadgen.errors import ScenarioError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import PlannedRequest
from loadgen.scenario.read import load_scenario, packaged_names, read_scenario
from loadgen.scenario.scale import mean_rate, scaled

ARRIVALS = [
    ("{process: constant, rate: 8, duration: 10s}", 8.0),
    ("{rate: 4, to: 8, duration: 10s}", 6.0),
    ("{process: burst, size: 6, every: 2s, duration: 10s}", 3.0),
    ("{stages: [{rate: 2, duration: 10s}, {rate: 6, duration: 30s}]}", 5.0),
    ("{rate: 8, duration: 10s, on_off: {on: 1s, off: 3s, off_rate: 0.5}}", 8 * (1 + 1.5) / 4),
    ("{rate: 5, requests: 10}", 5.0),
]


@pytest.mark.parametrize(("arrival", "rate"), ARRIVALS)
def test_the_mean_rate_of_a_class(arrival: str, rate: float) -> None:
    scenario = read_scenario(f"model: m\nclasses: {{a: {{arrival: {arrival}}}}}", "s.yaml")
    assert mean_rate(scenario) == pytest.approx(rate)
    assert mean_rate(scaled(scenario, 50.0)) == pytest.approx(50.0)


def test_classes_keep_their_shares() -> None:
    text = (
        "model: m\nclasses: {a: {arrival: {process: constant, rate: 2, duration: 10s}}, "
        "b: {arrival: {process: constant, rate: 6, duration: 10s}}}"
    )
    plan = list(build_plan(scaled(read_scenario(text, "s.yaml"), 16.0)))
    counts = {"a": 0, "b": 0}
    for line in plan:
        if isinstance(line, PlannedRequest):
            counts[line.cls] += 1
    assert counts == {"a": 40, "b": 120}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("arrival: {users: 3, requests: 9}", "class a is a closed loop"),
        ("arrival: {rate: 5, duration: 1s, on_off: {on: 1ms, off: 1000000s}}", None),
    ],
)
def test_what_cannot_be_scaled_is_named(fields: str, words: str | None) -> None:
    scenario = read_scenario(f"model: m\nclasses: {{a: {{{fields}}}}}", "s.yaml")
    if words is None:
        assert mean_rate(scaled(scenario, 2.0)) == pytest.approx(2.0)
        return
    with pytest.raises(ScenarioError, match=words):
        scaled(scenario, 2.0)


@pytest.mark.parametrize("name", sorted(packaged_names()))
def test_packaged_scenarios_scale_or_say_why(name: str) -> None:
    scenario = load_scenario(name)
    if any(spec.arrival.process == "closed" for spec in scenario.classes):
        with pytest.raises(ScenarioError, match="closed loop"):
            mean_rate(scenario)
        return
    base = mean_rate(scenario)
    assert mean_rate(scaled(scenario, 2 * base)) == pytest.approx(2 * base)
