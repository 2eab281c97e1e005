"""What the command line says over a file: every kind of key, and errors that name who said it."""

from __future__ import annotations

import pytest

from loadgen.errors import ScenarioError
from loadgen.scenario.read import Overrides, read_scenario
from loadgen.scenario.scenario import Scrape, Tls

TEXT = """model: m
grace: 9s
expect: [ttft.p50 < 1s]
slo: {ttft: 1s, e2e: 9s}
scrape: {pods: [a], interval: 5s}
tls: {ca: x}
defaults: {arrival: {rate: 1, requests: 1}}
"""


@pytest.mark.parametrize(
    ("extra", "attribute", "value"),
    [
        ({"grace": "2s"}, "grace", 2.0),
        ({"grace": 2}, "grace", 2.0),
        ({"warmup": "500ms"}, "warmup", 0.5),
        ({"http2": True}, "http2", True),
        ({"chunk_times": False}, "chunk_times", False),
        ({"connections": 4}, "connections", 4),
        ({"slo": {"tpot": "20ms"}}, "slo", {"ttft": 1.0, "e2e": 9.0, "tpot": 0.02}),
        ({"slo": {"ttft": "20ms"}}, "slo", {"ttft": 0.02, "e2e": 9.0}),
        ({"scrape": {"pods": ["b"]}}, "scrape", Scrape(pods=("b",), interval=5.0)),
        (
            {"scrape": {"decision_log": "/log"}},
            "scrape",
            Scrape(pods=("a",), interval=5.0, decision_log="/log"),
        ),
        (
            {"scrape": {"epp": ["e"], "interval": "2s"}},
            "scrape",
            Scrape(pods=("a",), epp=("e",), interval=2.0),
        ),
        ({"tls": {"insecure": True}}, "tls", Tls(insecure=True, ca="x")),
        ({}, "grace", 9.0),
    ],
)
def test_keys_laid_over_a_file(extra: dict[str, object], attribute: str, value: object) -> None:
    assert getattr(read_scenario(TEXT, "x.yaml", None, Overrides(extra=extra)), attribute) == value


def test_expectations_are_added_to_those_of_the_file() -> None:
    over = Overrides(extra={"expect": ["ttft.p99 < 2s"]})
    found = read_scenario(TEXT, "x.yaml", None, over).expect
    assert [(each.text, each.line) for each in found] == [("ttft.p50 < 1s", 3), ("ttft.p99 < 2s", 0)]


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (
            {"grace": "soon"},
            "command line: grace: must be a duration such as 30s, 250ms or 1h30m, not 'soon'",
        ),
        ({"slo": {"tfft": "1s"}}, "command line: slo.tfft: unknown key; did you mean `ttft`?"),
        ({"connections": -1}, "command line: connections: must be at least 0, not -1"),
        ({"expect": "a < 1"}, "command line: expect: must be a list, not 'a < 1'"),
        ({"expect": ["a <"]}, "command line: expect[0]: expected a figure or a number, found the end"),
    ],
)
def test_errors_name_the_command_line_without_a_line(extra: dict[str, object], error: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_scenario(TEXT, "x.yaml", None, Overrides(extra=extra))
    assert str(caught.value).splitlines()[0] == error
