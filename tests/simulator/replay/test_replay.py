"""Replays: against arithmetic, against a recorded run of vLLM, and as a command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.pace.latency import HostOverhead, StepCoefficients, StepModel
from simulator.engine.pace.profiles import PROFILES
from simulator.errors import ConfigError
from simulator.replay import add_arguments, run
from simulator.replay.lab import POLICIES, Lab
from simulator.replay.profiles_command import add_profiles_arguments, run_profiles
from simulator.replay.prompts import Prompt
from simulator.replay.replay_command import parse_coefficients
from simulator.replay.report import percentile, summarize, to_json
from simulator.replay.trace import Measured, TraceRequest
from tests.simulator.steps import flat, flat_flag

RECORDING = Path(__file__).parents[4] / "shared" / "data" / "vllm-replay-rtx4090"
needs_recording = pytest.mark.skipif(not RECORDING.exists(), reason="the recorded run is not here")
MILLI = flat(1000)


def config(**settings: Any) -> EngineConfig:
    defaults = {"max_model_len": 4096, "num_gpu_blocks": 500, "async_scheduling": False}
    return EngineConfig(**{**defaults, **settings})


def lab(num_engines: int = 1, policy: str = "round-robin", **settings: Any) -> Lab:
    return Lab(config(**settings), lambda _: StepModel(MILLI), num_engines=num_engines, policy=policy)


def trace(count: int, every: float = 0.01, prompt: int = 20, output: int = 5) -> list[TraceRequest]:
    return [
        TraceRequest(str(i), i * every, Prompt.of_ids(list(range(i * 1000, i * 1000 + prompt))), output)
        for i in range(count)
    ]


def test_a_lone_request_takes_one_step_per_token() -> None:
    finished = lab().replay(trace(1))
    (outcome,) = finished.outcomes
    assert (outcome.ttft, outcome.e2e, outcome.tpot) == pytest.approx((0.001, 0.005, 0.001))
    assert finished.steps == 5
    assert finished.end == pytest.approx(0.005)


def test_an_answer_of_one_token_has_no_tpot() -> None:
    (outcome,) = lab().replay(trace(1, output=1)).outcomes
    assert outcome.tpot is None


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_serves_everything(policy: str) -> None:
    requests = trace(40, every=0.0005)
    finished = lab(3, policy).replay(requests)
    assert {outcome.request.name for outcome in finished.outcomes} == {request.name for request in requests}
    assert {outcome.engine for outcome in finished.outcomes} == {0, 1, 2}


def test_round_robin_and_least_requests() -> None:
    engines = {o.request.name: o.engine for o in lab(2).replay(trace(6)).outcomes}
    assert [engines[str(i)] for i in range(6)] == [0, 1, 0, 1, 0, 1]
    long_first = [TraceRequest("long", 0.0, Prompt.of_ids([1] * 20), 100), *trace(3, every=0.02, output=2)]
    engines = {o.request.name: o.engine for o in lab(2, "least-requests").replay(long_first).outcomes}
    assert engines == {"long": 0, "0": 1, "1": 1, "2": 1}


def test_equal_prefixes_meet_on_one_engine() -> None:
    shared = [TraceRequest(str(i), i * 0.1, Prompt.of_ids([i % 4] * 400), 2) for i in range(16)]
    outcomes = lab(3, "prefix").replay(shared).outcomes
    by_prefix = {(outcome.request.prompt.token_ids()[0], outcome.engine) for outcome in outcomes}
    assert len(by_prefix) == 4
    assert sum(outcome.cached_tokens > 0 for outcome in outcomes) == 12


def test_a_replay_repeats_exactly() -> None:
    def once() -> list[tuple[str, float, float, int]]:
        outcomes = lab(2, "random", num_gpu_blocks=40).replay(trace(30, every=0.001, output=60)).outcomes
        return [(o.request.name, o.first_token, o.last_token, o.preemptions) for o in outcomes]

    assert once() == once()
    assert any(row[3] for row in once())


def test_requests_that_can_never_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="exceed max_model_len"):
        lab().replay(trace(1, prompt=4000, output=1000))
    with pytest.raises(ConfigError, match="exceed the KV cache of 144 tokens"):
        lab(num_gpu_blocks=10).replay(trace(1, prompt=200))


def test_errors_against_what_was_measured() -> None:
    requests = [
        TraceRequest(str(i), float(i), Prompt.of_ids([1 + i] * 20), 5, Measured(i + 0.002, i + 0.010))
        for i in range(3)
    ]
    outcomes = lab().replay(requests).outcomes
    ttft, e2e = summarize(outcomes, "TTFT"), summarize(outcomes, "E2E")
    assert ttft.error is not None
    assert ttft.error["mean"] == pytest.approx(-50)
    assert e2e.mape == pytest.approx(50)
    assert summarize(lab().replay(trace(2)).outcomes, "TTFT").measured is None


def test_percentiles() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([1], 99) == 1
    assert percentile([], 50) == 0.0


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(argv)


@needs_recording
def test_the_recorded_run_of_vllm(capsys: pytest.CaptureFixture[str]) -> None:
    """Kernel coefficients of the RTX 4090, host overhead 1000 us per step and 10 us per sequence."""
    flags = ("--profile", "llama-3.1-8b/rtx-4090", "--max-mean-error", "2", "--max-mape", "8/6/3")
    assert run(parse(str(RECORDING), *flags, "--json", "-", "--quiet")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == 300
    assert found["output_tokens"] == 195_753
    assert 150 <= found["preemptions"] <= 250
    assert found["settings"]["num_gpu_blocks"] == 2588
    assert found["settings"]["host_overhead_us"] == {"per_step": 1000, "per_sequence": 10}


@needs_recording
def test_out_of_bounds_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """2000 us per step are too much: the recorded decode steps are faster than that."""
    flags = (
        "--profile",
        "llama-3.1-8b/rtx-4090",
        "--host-overhead-per-step",
        "2000us",
        "--max-mean-error",
        "2",
    )
    assert run(parse(str(RECORDING), *flags, "--quiet")) == 1
    assert "mean E2E is off by +4" in capsys.readouterr().err


def write_trace(folder: Path) -> Path:
    rows = [{"arrival_s": i * 0.01, "prompt_tokens": 50, "output_tokens": 10} for i in range(20)]
    file = folder / "trace.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_command_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, rows = tmp_path / "report.json", tmp_path / "rows.jsonl"
    flags = ("--step-model", flat_flag(1000), "--num-gpu-blocks", "500")
    code = run(parse(str(write_trace(tmp_path)), *flags, "--json", str(report), "--requests-out", str(rows)))
    assert code == 0
    shown = capsys.readouterr().out
    assert "TTFT simulated" in shown
    assert "measured" not in shown
    assert json.loads(report.read_text())["requests"] == 20
    assert [json.loads(line)["id"] for line in rows.read_text().splitlines()] == [str(i) for i in range(20)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --profile NAME"),
        (("--profile", "nope"), "--profile: no profile 'nope'; there are"),
        (("--step-model", "1,2,3"), "needs the seven numbers"),
        (("--step-model", '{"c0": 1}'), "missing or wrong"),
        (("--step-model", "x"), "--step-model 'x'"),
        (("--step-model", "1,2,3,4,5,6,7"), "give --num-gpu-blocks"),
        (("--profile", "llama-3.1-8b/h100", "--host-overhead-per-step", "soon"), "is no duration"),
        (("--profile", "llama-3.1-8b/h100", "--engines", "0"), "--engines must be at least 1"),
        (("--profile", "llama-3.1-8b/h100", "--rate-scale", "0"), "--rate-scale must be above 0"),
        (("--profile", "llama-3.1-8b/h100", "--max-mape", "1/2"), "write three numbers"),
        (("--profile", "llama-3.1-8b/h100", "--compat", "x"), "--compat 'x' is unknown"),
        (("--profile", "llama-3.1-8b/h100", "--max-mean-error", "1"), "no measured times"),
        (("--profile", "llama-3.1-8b/h100", "--requests-out", "/nowhere/x"), "cannot write /nowhere/x"),
    ],
)
def test_bad_flags_are_named(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(parse(str(write_trace(tmp_path)), *flags, "--quiet"))


def test_coefficients_in_every_form() -> None:
    expected = StepCoefficients(1, 2, 3, 4, 5, 6, 7)
    assert parse_coefficients("1,2,3,4,5,6,7") == expected
    assert parse_coefficients('{"c0": 1, "c1": 2, "c2": 3, "K": 4, "c3": 5, "c4": 6, "c5": 7}') == expected
    assert parse_coefficients("[1,2,3,4,5,6,7]") == expected


def test_the_report_names_the_settings() -> None:
    found = to_json(lab().replay(trace(2)), {"a": 1})
    assert found["settings"] == {"a": 1}
    assert found["output_tokens_per_s"] == pytest.approx(10 / found["virtual_seconds"])


def test_the_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_profiles_arguments(parser)
    assert run_profiles(parser.parse_args([])) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in PROFILES)
    assert run_profiles(parser.parse_args(["--json"])) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(PROFILES)
    host = HostOverhead(rows[0]["host_overhead_us"]["per_step"], rows[0]["host_overhead_us"]["per_sequence"])
    assert host == PROFILES[rows[0]["name"]].host
