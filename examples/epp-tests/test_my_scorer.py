"""How a picker's own test suite looks: `pytest examples/epp-tests` or, for a picker in Go,
`pytest --simfleet-epp ./bin/epp examples/epp-tests`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simfleet import Result, Stack

LOAD = {"model": "reviews-1", "rate": 20, "duration": "3s", "output_tokens": 8, "no_selftest": True}


@pytest.mark.simfleet(replicas=3)
def test_every_pod_gets_its_part(simfleet_run: Callable[..., Result]) -> None:
    result = simfleet_run(**LOAD)
    assert result.figures()["outcomes.groups.ok"] == result.report.run.requests
    assert result.report.spread is not None
    assert min(result.report.spread.counts.values()) > 0


@pytest.mark.simfleet(replicas=2, plugins=["../my_scorer.py"])
def test_a_pod_that_leaves_gets_nothing(simfleet_stack: Stack, simfleet_run: Callable[..., Result]) -> None:
    gone, other = (pod.name for pod in simfleet_stack.pods)
    simfleet_stack.kill(gone)
    result = simfleet_run(**LOAD)
    assert {row["pod"] for row in result.records() if row["outcome"] == "ok"} == {other}
