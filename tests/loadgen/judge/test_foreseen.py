"""Expectations that no run could be judged by are refused before one is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.errors import ScenarioError
from loadgen.judge.foreseen import check_expectations
from loadgen.scenario.read import load_scenario, packaged_names, read_scenario
from loadgen.scenario.scenario import Scenario

TEXT = """
model: m
classes:
  chat: {arrival: {rate: 1, duration: 1s}, api: chat}
timeline: [{at: 1s, name: kill it, run: "true"}]
arms: [{name: page}, {name: other}]
expect:
- %s
"""


def scenario(expectation: str) -> Scenario:
    return read_scenario(TEXT % f"'{expectation}'", "f.yaml", Path())


@pytest.mark.parametrize(
    "expectation",
    [
        "ttft.p99 < 300ms",
        "outcomes.ok == 100% and count.rejected_4xx == 0 and count.due > 3",
        "class[chat].e2e.p90 < 2 * e2e.p50",
        "pod[whoever].outcomes.ok > 0.9 or adapter[a].e2e.mean < 1s",
        "stage[1].goodput.share > 90%",
        "refused[shed_429].p99 < 10ms and refused[shed_429].count < 3",
        "spread.share[pod-1] < 50% and spread.jain > 0.9",
        "staleness.reason[queue-scorer] > 10% and joined.access_log == 100%",
        "recovery.seconds < 3s and recovery[kill it].seconds < 1s",
        "arm[page].ttft.p90 < 0.8 * arm[other].ttft.p90 and delta[page].ttft.p90 < 5%",
    ],
)
def test_what_a_run_can_be_judged_by(expectation: str) -> None:
    check_expectations(scenario(expectation))


@pytest.mark.parametrize("name", packaged_names())
def test_packaged_scenarios_expect_what_there_is(name: str) -> None:
    check_expectations(load_scenario(name))


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ("ttft.p97 < 1s", r"no figure 'ttft\.p97'; did you mean ttft\.p9"),
        ("tftt.p99 < 1s", "no figure 'tftt.p99'"),
        ("ttft.p99 < 300", "cannot compare a time and a number"),
        ("ttft.p99 < 5%", "cannot compare a time and a share"),
        ("outcomes.ok > 95", "write 95% for the share"),
        ("outcomes.fine > 95%", "no figure 'outcomes.fine'"),
        ("class[caht].ttft.p99 < 1s", "no class 'caht' in this scenario; there is chat"),
        ("class[chat].spread.jain > 1", "no figure 'class"),
        ("stage[first].ttft.p99 < 1s", "stages are counted from 0"),
        ("refused[shed].p99 < 1s", "no refused 'shed'"),
        ("refused[shed_429].p97 < 1s", "no figure 'refused"),
        ("recovery[kill].seconds < 1s", "no event 'kill' in this scenario; there is kill it"),
        ("recovery.time < 1s", "did you mean recovery.seconds"),
        ("arm[pgae].ttft.p90 < 1s", "no arm 'pgae' in this scenario; there is page, other"),
        ("delta[page].ttft.p90 < 5ms", "cannot compare a share and a time"),
        ("ttft.p99 + outcomes.ok < 1s", "cannot add a time and a share"),
    ],
)
def test_what_it_cannot(expectation: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words) as caught:
        check_expectations(scenario(expectation))
    assert str(caught.value).startswith("f.yaml:8: expect: ")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_nothing_is_planned_or_sent(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--rate", "1", "--duration", "1s", "--model", "m", "--expect", "ttft.p97 < 1s"]
    out = tmp_path / "out"
    target = ["--target", "http://127.0.0.1:9"]
    assert main([command, *load, *target, "-o", str(out)]) == 2
    assert "no figure 'ttft.p97'" in capsys.readouterr().err
    assert not out.exists()
