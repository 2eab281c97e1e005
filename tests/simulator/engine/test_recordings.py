"""Two recorded runs of vLLM 0.33's own scheduler, reproduced step for step.

tests/conformance/sched_sync.jsonl and sched_async.jsonl were written by the driver of vLLM 0.33 that
tests/conformance/README.md describes, from oracle.DEFAULT_SCENARIO with its adapters left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.engine.oracle import DEFAULT_SCENARIO, run

RECORDINGS = Path(__file__).parents[2] / "conformance"


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]


def scenario_without_adapters(is_async: bool) -> dict[str, Any]:
    cfg = {name: value for name, value in DEFAULT_SCENARIO["cfg"].items() if name != "max_loras"}
    reqs = [{name: value for name, value in r.items() if name != "lora"} for r in DEFAULT_SCENARIO["reqs"]]
    return {"cfg": cfg | {"async": is_async}, "reqs": reqs}


@pytest.mark.parametrize(("name", "is_async"), [("sched_sync.jsonl", False), ("sched_async.jsonl", True)])
def test_every_step_is_the_recorded_one(name: str, is_async: bool) -> None:
    lines = run(scenario_without_adapters(is_async))
    expected = recorded(name)
    for ours, theirs in zip(lines, expected, strict=False):
        assert ours == theirs
    assert len(lines) == len(expected)
