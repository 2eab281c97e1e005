"""What comes with the package: presets whose figures hold together, scenarios that plan what they say."""

from __future__ import annotations

import math

import pytest

from loadgen.plan.build import build_plan
from loadgen.plan.plan import PlanHeader, PlannedRequest
from loadgen.scenario.presets import PRESETS, LogNormal
from loadgen.scenario.read import Overrides, load_scenario, packaged_names, packaged_text
from loadgen.scenario.scenario import PATHS


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_figures_of_a_preset(name: str) -> None:
    preset = PRESETS[name]
    assert preset.clients >= preset.tenants / 8 > 0
    assert preset.turns >= 1
    assert 0 <= preset.hit <= 1
    assert preset.cv > 0
    assert preset.cv_sigma >= 0
    assert (preset.documents > 0) == (preset.document_tokens > 0)
    assert sum(part.weight for part in preset.outputs) == pytest.approx(1.0)
    for part in (preset.inputs, preset.later, *preset.outputs):
        assert 1 <= part.low < part.high
        assert part.low < math.exp(part.mu) < part.high  # the median is no clipped value
        assert part.sigma > 0


@pytest.mark.parametrize(
    ("name", "median"), [("chat", math.exp(6.25)), ("code", math.exp(6.9)), ("doc-qa", math.exp(4.0))]
)
def test_medians_are_those_of_the_traces(name: str, median: float) -> None:
    inputs: LogNormal = PRESETS[name].inputs
    assert math.exp(inputs.mu) == pytest.approx(median)


def test_names_of_packaged_scenarios_are_sorted_and_those_of_the_docs() -> None:
    assert packaged_names() == sorted(packaged_names())
    assert set(packaged_names()) == {
        "burst-herd", "churn", "gateway-overhead", "hot-prefix", "lora-mix", "mixed-tenants", "overload-shed",
        "page", "sessions", "steady",
    }  # fmt: skip


@pytest.mark.parametrize("name", packaged_names())
def test_a_packaged_scenario_plans_what_it_says(name: str) -> None:
    scenario = load_scenario(name)
    header, *lines = build_plan(scenario)
    assert isinstance(header, PlanHeader)
    requests = [line for line in lines if isinstance(line, PlannedRequest)]
    assert requests
    assert {request.cls for request in requests} == {spec.name for spec in scenario.classes}
    assert [request.at for request in requests if request.at is not None and request.at > header.span] == []
    for spec in scenario.classes:
        assert header.classes[spec.name].path == spec.path in PATHS.values()
    for event in scenario.timeline:
        assert event.at <= header.span + scenario.grace


@pytest.mark.parametrize("name", packaged_names())
def test_a_packaged_scenario_is_the_same_for_a_seed_and_bends_to_the_command_line(name: str) -> None:
    def identities(**over: object) -> list[tuple[str, float | None, int | None]]:
        scenario = load_scenario(name, Overrides(**over))  # type: ignore[arg-type]
        return [(x.id, x.at, x.max_tokens) for x in build_plan(scenario) if isinstance(x, PlannedRequest)]

    assert identities(seed=3) == identities(seed=3)
    over = load_scenario(name, Overrides(model="given", target="http://127.0.0.1:1", processes=2))
    assert (over.target, over.processes) == ("http://127.0.0.1:1", 2)
    named = {"model:" in line and not line.startswith("model:") for line in packaged_text(name).splitlines()}
    if True not in named and not any(share.adapter for spec in over.classes for share in spec.models):
        assert {share.name for spec in over.classes for share in spec.models} == {"given"}
