"""A packaged scenario live and in virtual time: what the engines saw of it is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loadgen.records.rundata import RunData, load_run
from tests.ports import free_port

BIN = Path(sys.executable).parent
FAMILIES = ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds")
STACK = "test-agreement"


def command(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout


def engine_means(run: RunData) -> dict[str, float]:
    """Seconds: means of the pods' own histograms over the run, in which no lag of the machine's stands."""
    grown: dict[str, float] = {}
    for line in run.scrapes:
        sign = {"before": -1.0, "after": 1.0}.get(line.phase, 0.0)
        for series, value in line.samples.items():
            name = series.partition("{")[0]
            grown[name] = grown.get(name, 0.0) + sign * value
    return {family: grown[f"{family}_sum"] / grown[f"{family}_count"] for family in FAMILIES}


def hits(run: RunData) -> float:
    """The share of prompt tokens that a prefix cache had."""
    records = run.frame.records
    return float(np.nansum(records.numbers("cached_tokens")) / np.nansum(records.numbers("prompt_tokens")))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["steady", "sessions"])
def test_engines_see_the_same_live_and_simulated(tmp_path: Path, scenario: str) -> None:
    pytest.importorskip("grpc", reason="a live stack needs pip install 'vllm-simfleet[gateway]'")
    lab = command("simfleet", "up", "--print-manifests")
    fleet, plan = tmp_path / "fleet.yaml", tmp_path / "plan.jsonl"
    fleet.write_text(command("loadgen", "scenarios", scenario, "--manifests", "-", stdin=lab))
    command("loadgen", "plan", scenario, "--out", str(plan))
    port = str(free_port())
    command(
        "simfleet", "up", "--detach", "--name", STACK, "-f", str(fleet), "--port", port, "--epp", "reference"
    )
    try:
        listing = f"{BIN}/simfleet ps --name {STACK} --format json"
        flags = ("--plan", str(plan), "--out", str(tmp_path / "live"), "--quiet", "--no-selftest")
        command("loadgen", "run", scenario, *flags, "--fleet", listing)
    finally:
        command("simfleet", "down", "--name", STACK)
    command(
        "simfleet", "simulate", "-f", str(fleet), "--plan", str(plan), "--out", str(tmp_path / "simulated")
    )
    live, simulated = load_run(tmp_path / "live"), load_run(tmp_path / "simulated")
    there = engine_means(simulated)
    for family, mean in engine_means(live).items():
        assert there[family] == pytest.approx(mean, rel=0.03, abs=0.002), family
    assert hits(live) == pytest.approx(hits(simulated), abs=0.01)
