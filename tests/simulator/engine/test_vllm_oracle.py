"""Random scenarios against the schedulers of vLLM 0.33 and 0.11, step for step.

Needs `python tests/simulator/engine/install_oracle.py`; 0.33 also the driver that VLLM_DRIVER names, which
is not in this repository (tests/conformance/README.md says what it has to do). SCENARIOS and FIRST_SEED in
the environment say how many are compared (500) and from where on (0).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simulator.server.balance import Balancer
from tests.simulator.engine.install_oracle import folder
from tests.simulator.engine.oracle import LAST_STEP, run
from tests.simulator.engine.scenarios import (
    flag_scenario,
    pull_scenario,
    rank_scenario,
    scenario,
    spec_scenario,
)

DRIVER = Path(
    os.environ.get("VLLM_DRIVER") or Path(__file__).parents[4] / "shared/tools/vllm_sched_oracle.py"
)
DRIVER_033 = Path(__file__).with_name("vllm_033_driver.py")
BALANCER_033 = Path(__file__).with_name("vllm_033_balancer.py")
DRIVER_011 = Path(__file__).with_name("vllm_011_driver.py")
MODEL = Path(__file__).parents[2] / "conformance/data/model-tiny"

# Reads one scenario per line and answers with one line each: the import of vLLM takes longer than a scenario.
FEEDER = """
import importlib.util, io, json, sys
spec = importlib.util.spec_from_file_location("oracle", sys.argv[1])
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
for line in sys.stdin:
    out = io.StringIO()
    tool.main(json.loads(line), out)
    print("LINES " + json.dumps([json.loads(l) for l in out.getvalue().splitlines()]), flush=True)
"""


def ask_vllm(site: str, command: list[str], scenarios: Sequence[Any]) -> list[Any]:
    """What the scheduler of the vLLM in `site` does with each; `command` answers LINES for lines."""
    where = folder()
    python = where / "venv/bin/python"
    if not (where / site).exists():
        pytest.skip(f"{where / site} is not there: run tests/simulator/engine/install_oracle.py")
    env = os.environ | {
        "PYTHONPATH": str(where / site),
        "TINY_MODEL": str(MODEL),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    lines = "".join(json.dumps(one) + "\n" for one in scenarios)
    done = subprocess.run(
        [str(python), *command],
        input=lines,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("LINES ")]


def comparable(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """vLLM's second model runner reports resumed requests among the new ones: compare them together."""
    for line in lines:
        if "new" in line:
            line["admitted"] = sorted(line.pop("new") + line.pop("resumed"))
    return lines


@pytest.mark.vllm
def test_every_step_is_vllms() -> None:
    first, count = int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("SCENARIOS", "500"))
    scenarios = [scenario(seed) for seed in range(first, first + count)]
    if not DRIVER.exists():
        pytest.skip(f"{DRIVER} is not there: see VLLM_DRIVER in tests/conformance/README.md")
    answers = ask_vllm("site", ["-c", FEEDER, str(DRIVER)], scenarios)
    assert len(answers) == count
    steps = preempted = hits = deferred = 0
    for seed, (one, answer) in enumerate(zip(scenarios, answers, strict=True), first):
        ours, theirs = comparable(run(one)), comparable(answer)
        for our_line, their_line in zip(ours, theirs, strict=False):
            assert our_line == their_line, f"seed {seed}, {one['cfg']}"
        assert len(ours) == len(theirs) <= LAST_STEP, f"seed {seed}"
        steps += len(theirs)
        preempted += sum(len(line.get("preempted", ())) for line in theirs)
        hits += sum(line.get("stats", {}).get("h", 0) for line in theirs)
        deferred += sum(line.get("stats", {}).get("deferred", 0) > 0 for line in theirs)
    print(
        f"{count} scenarios, {steps} steps, {preempted} preemptions, {hits} hit tokens, {deferred} deferrals"
    )
    assert min(preempted, hits, deferred) > count // 10  # else the scenarios have no power


@pytest.mark.vllm
@pytest.mark.parametrize("make", [spec_scenario, flag_scenario, pull_scenario])
def test_every_step_with_drafts_and_flags_is_vllms(make: Callable[[int], dict[str, Any]]) -> None:
    """Speculation of every method, the flags of 0.33 that bend the schedule, and prompts that are pulled.

    Pulls without a step ahead: with one, a consumer's blocks are freed a step later in vLLM.
    """
    first, count = int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("SCENARIOS", "500"))
    scenarios = [make(seed) for seed in range(first, first + count)]
    answers = ask_vllm("site", [str(DRIVER_033), str(LAST_STEP)], scenarios)
    assert len(answers) == count
    steps = drafts = preempted = deferred = 0
    for seed, (one, answer) in enumerate(zip(scenarios, answers, strict=True), first):
        ours, theirs = comparable(run(one)), comparable(answer)
        for our_line, their_line in zip(ours, theirs, strict=False):
            assert our_line == their_line, f"seed {seed}, {one['cfg']}"
        assert len(ours) == len(theirs) <= LAST_STEP, f"seed {seed}"
        steps += len(theirs)
        preempted += sum(len(line.get("preempted", ())) for line in theirs)
        drafts += sum(len(line.get("drafts", ())) for line in theirs)
        deferred += sum(line.get("stats", {}).get("deferred", 0) > 0 for line in theirs)
    print(f"{count} scenarios, {steps} steps, {preempted} preemptions, {drafts} drafts, {deferred} deferrals")
    pulls = make is pull_scenario
    assert min(preempted, deferred if pulls else drafts) > count // 10  # else the scenarios have no power


@dataclass
class Load:
    """A rank, as far as the one who picks sees it."""

    load: tuple[int, int, int, float]


@pytest.mark.vllm
def test_ranks_are_picked_and_step_as_vllms() -> None:
    """Data parallelism of dense models: the client's picks, and every step of each of its engines.

    Engines of a mixture of experts would also step together, which is not imitated.
    """
    first, count = int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("SCENARIOS", "500"))
    made = [rank_scenario(seed) for seed in range(first, first + count)]
    picked = ask_vllm("site", [str(BALANCER_033)], [loads for _, loads in made])
    assert len(picked) == count
    for seed, ((_, requests), theirs) in enumerate(zip(made, picked, strict=True), first):
        balancer = Balancer()
        ours = []
        for loads in requests:
            ranks = [Load((int(own), int(wait), int(run_), usage)) for wait, run_, usage, own in loads]
            ours.append(balancer.pick(ranks))
        assert ours == theirs, f"seed {seed}"
    engines = [part for parts, _ in made for part in parts]
    answers = ask_vllm("site", [str(DRIVER_033), str(LAST_STEP)], engines)
    for index, (one, answer) in enumerate(zip(engines, answers, strict=True)):
        assert comparable(run(one)) == comparable(answer), f"engine {index}, {one['cfg']}"
    print(f"{count} scenarios, {sum(map(len, picked))} picks, {len(engines)} engines")


@pytest.mark.vllm
def test_every_step_is_that_of_0_11() -> None:
    """Synchronous and fcfs: under priority, 0.11 forgets the tokens of a victim in the batch."""
    first, count = int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("SCENARIOS", "500"))
    scenarios = [scenario(seed) for seed in range(first, first + count)]
    for one in scenarios:
        one["cfg"] |= {"policy": "fcfs", "async": False, "watermark": 0.0, "version": "0.11"}
    answers = ask_vllm("site-0.11", [str(DRIVER_011), str(LAST_STEP)], scenarios)
    assert len(answers) == count
    for seed, (one, theirs) in enumerate(zip(scenarios, answers, strict=True), first):
        ours = [in_the_words_of_0_11(line) for line in run(one)]
        for our_line, their_line in zip(ours, theirs, strict=False):
            assert our_line == their_line, f"seed {seed}, {one['cfg']}"
        assert len(ours) == len(theirs) <= LAST_STEP, f"seed {seed}"


def in_the_words_of_0_11(line: dict[str, Any]) -> dict[str, Any]:
    """Deferred requests are not told apart, and who is new, resumed or preempted is not in the line."""
    kept = {name: value for name, value in line.items() if name not in ("new", "resumed", "preempted")}
    if "stats" in kept:
        stats = dict(kept["stats"])
        stats["wait"] += stats.pop("deferred")
        kept["stats"] = stats
    return kept
