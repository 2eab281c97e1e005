"""Flags spell a scenario, with the same meanings and messages as YAML."""

from __future__ import annotations

import argparse

import pytest

from loadgen.cli import build_parser
from loadgen.errors import ScenarioError
from loadgen.flags import run_options
from loadgen.scenario.scenario import Scenario
from loadgen.spelling import scenario_of


def parse(*arguments: str) -> argparse.Namespace:
    args = build_parser().parse_args(["run", *arguments])
    args.command_line = list(arguments)
    return args


def scenario(*arguments: str) -> Scenario:
    return scenario_of(parse(*arguments))


BASE = ("--target", "http://127.0.0.1:1", "--model", "m")


def test_open_load() -> None:
    made = scenario(*BASE, "--rate", "50", "--duration", "30s", "--seed", "3")
    (cls,) = made.classes
    assert cls.arrival.process == "poisson"
    assert (cls.arrival.stages[0].rate, cls.arrival.stages[0].duration) == (50, 30)
    assert (made.target, made.seed, cls.models[0].name) == ("http://127.0.0.1:1", 3, "m")


def test_everything_at_once() -> None:
    made = scenario(
        *BASE, "--arrival", "gamma", "--burstiness", "0.5", "--rate", "10", "--duration", "1m",
        "--api", "chat", "--input-tokens", "{mean: 100, stddev: 20}", "--output-tokens", "16",
        "--prefix", "{groups: 4, tokens: 64, zipf: 1}", "--sessions", "{turns: 3, think: 1s}",
        "--adapter", "a=3", "--adapter", "b", "-H", "x-a: b", "--objective", "food", "--fairness-id", "t",
        "--timeout", "5s", "--cancel-after", "4", "--retries", "3", "--no-stream", "--ignore-eos",
        "--slo", "ttft=300ms", "--expect", "ttft.p99 < 1s", "--scrape", "127.0.0.2:8000",
        "--epp", "127.0.0.1:9090",
        "--scrape-interval", "500ms", "--grace", "5s", "--insecure", "--no-chunk-times", "--http2",
        "--connections", "7", "--priority", "-1", "--warmup", "2s",
    )  # fmt: skip
    (cls,) = made.classes
    assert [(share.name, share.weight) for share in cls.models] == [("a", 3), ("b", 1)]
    assert cls.headers == {
        "x-a": "b",
        "x-gateway-inference-objective": "food",
        "x-gateway-inference-fairness-id": "t",
    }
    assert (cls.stream, cls.ignore_eos, cls.timeout, cls.retry.attempts, cls.priority) == (
        False,
        True,
        5.0,
        3,
        -1,
    )
    assert made.slo == {"ttft": 0.3}
    assert made.scrape is not None
    assert (made.scrape.pods, made.scrape.epp, made.scrape.interval) == (
        ("127.0.0.2:8000",),
        ("127.0.0.1:9090",),
        0.5,
    )
    assert (made.grace, made.tls.insecure, made.chunk_times, made.http2) == (5.0, True, False, True)
    assert (made.connections, made.warmup) == (7, 2.0)


def test_closed_loop_and_ramp() -> None:
    closed = scenario(*BASE, "--users", "8", "--requests", "500", "--think", "100ms").classes[0].arrival
    assert (closed.process, closed.users, closed.requests) == ("closed", 8, 500)
    ramp = scenario(*BASE, "--rate", "1", "--ramp-to", "9", "--ramp-shape", "exponential", "--duration", "9s")
    assert ramp.classes[0].arrival.stages[0].end_rate == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BASE,), "needs a scenario, or a load"),
        (
            (*BASE, "--rate", "fast", "--duration", "1s"),
            r"command line: classes\.load\.arrival\.rate: must be a number",
        ),
        ((*BASE, "--rate", "1", "--duration", "1s", "--api", "chatt"), "did you mean chat"),
        ((*BASE, "--rate", "1", "--duration", "1s", "-H", "nocolon"), "--header must look like KEY:VALUE"),
        ((*BASE, "--rate", "1", "--duration", "1s", "--prefix", "{"), "is no YAML value"),
        (("page", "--burstiness", "5"), "leave --burstiness out"),
        (("page", "--no-stream", "--adapter", "x"), "leave --adapter, --no-stream out"),
    ],
)
def test_messages(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        scenario(*arguments)


def test_slices() -> None:
    assert run_options(parse(*BASE, "--slice", "1/4")).slice == (1, 4)
    for wrong in ("4/4", "1", "a/b"):
        with pytest.raises(ScenarioError, match="--slice must look like"):
            run_options(parse(*BASE, "--slice", wrong))


def test_packaged_scenarios_take_target_model_and_duration() -> None:
    made = scenario("page", "--target", "http://127.0.0.1:9", "--duration", "3s", "--model", "other")
    assert made.target == "http://127.0.0.1:9"
    assert made.classes[0].arrival.stages[0].duration == 3.0
    assert made.classes[0].models[0].name == "other"
