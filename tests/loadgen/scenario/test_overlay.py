"""A run's directory holds the scenario as it was run, with what the command line said in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.plan.prepare import prepare_plan
from loadgen.records.records import Record, RecordsHeader, write_records
from loadgen.records.rundata import load_run
from loadgen.records.rundir import SCENARIO, Meta, write_meta
from loadgen.scenario.overlay import LAID_OVER, laid_over
from loadgen.scenario.read import Overrides, read_scenario
from loadgen.scenario.redaction import Secrets
from loadgen.scenario.scenario import Scenario

TEXT = """\
name: tried
model: m
duration: 60s
warmup: 1s
slo: {ttft: 300ms}
expect: [ttft.p99 < 1s]
classes:
  chat: {arrival: {rate: 10}, output_tokens: 5}  # a comment
  bulk: {arrival: {rate: 30}, output_tokens: 5}
"""


def given(**extra: object) -> Scenario:
    over = Overrides(
        model="other", target="http://127.0.0.1:1", seed=7, duration=3.0, processes=2, extra=extra,
        secrets=Secrets(),
    )  # fmt: skip
    return read_scenario(TEXT, "tried.yaml", Path(), over)


def unlike(scenario: Scenario) -> Scenario:
    """Without where it came from."""
    expect = tuple(replace(expectation, line=0) for expectation in scenario.expect)
    classes = tuple(replace(spec, line=0) for spec in scenario.classes)
    return replace(scenario, source="", secrets=Secrets(), expect=expect, classes=classes)


def test_the_text_of_a_scenario_reads_as_it_was_run() -> None:
    scenario = given(slo={"e2e": "2s"}, expect=["tpot.p50 < 20ms"], warmup="2s", rate=4.0)
    assert scenario.text.startswith(LAID_OVER)
    again = read_scenario(scenario.text, "scenario.yaml", Path())
    assert unlike(again) == unlike(scenario)
    assert (again.warmup, again.seed, again.processes) == (2.0, 7, 2)
    assert again.slo == {"ttft": 0.3, "e2e": 2.0}
    assert [e.text for e in again.expect] == ["ttft.p99 < 1s", "tpot.p50 < 20ms"]
    rates = [spec.arrival.stages[0].rate for spec in again.classes]
    assert rates == pytest.approx([1.0, 3.0])
    assert sum(stage.duration for stage in again.classes[0].arrival.stages) == 3.0


@pytest.mark.parametrize("seconds", [1234567.0, 86400.25, 0.001])
def test_any_duration_is_read_again_as_it_was(seconds: float) -> None:
    over = Overrides(duration=seconds, secrets=Secrets())
    text = read_scenario(TEXT, "tried.yaml", Path(), over).text
    again = read_scenario(text, "scenario.yaml", Path())
    assert sum(stage.duration for stage in again.classes[0].arrival.stages) == seconds


def test_what_nothing_is_laid_over_stays_as_it_was_written() -> None:
    assert read_scenario(TEXT, "tried.yaml", Path()).text == TEXT
    assert laid_over("a: 1 # why\n", {}) == "a: 1 # why\n"
    assert laid_over("a: {b: 1}\nc: [1]\n", {"a": {"d": 2}, "c": [2], "e": 3}).endswith(
        "a:\n  b: 1\n  d: 2\nc:\n- 1\n- 2\ne: 3\n"
    )


def test_a_rate_that_is_none_is_refused_by_its_line() -> None:
    with pytest.raises(ScenarioError, match=r"tried\.yaml:10: .*rate.* must be"):
        read_scenario(TEXT + "rate: 0\n", "tried.yaml", Path())


def test_a_report_made_again_knows_what_the_command_line_said(tmp_path: Path) -> None:
    scenario = given(slo={"e2e": "2s"}, expect=["nothing.known < 1"], warmup="2s")
    prepare_plan(scenario, None, tmp_path / "plan.jsonl")
    (tmp_path / SCENARIO).write_text(scenario.text)
    write_records(tmp_path / "records.jsonl", RecordsHeader(), [Record(id="a", cls="chat", intended=0.0)])
    write_meta(tmp_path, Meta(status="finished", scenario="tried", source="tried.yaml"))
    for _ in range(2):
        run = load_run(tmp_path)
        assert run.scenario is not None
        assert (run.warmup, run.scenario.slo["e2e"]) == (2.0, 2.0)
        assert run.scenario.source == str(tmp_path / SCENARIO)  # whose lines expectations name
        (tmp_path / SCENARIO).unlink(missing_ok=True)  # the plan holds the same
