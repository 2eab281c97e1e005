"""fast_forward gives what stepping gives, bit for bit."""

from __future__ import annotations

import pytest

from tests.simulator.engine.runs import observed, play


@pytest.mark.parametrize("block", range(6))
def test_fast_forward_equals_stepping_on_random_workloads(block: int) -> None:
    stretched = 0
    for seed in range(block * 50, block * 50 + 50):
        by_steps = observed(*play(seed, fast=False))
        engine, steps = play(seed, fast=True)
        at_once = observed(engine, steps)
        for what, expected in by_steps.items():
            assert at_once[what] == expected, f"seed {seed}: {what} differs"
        stretched += sum(step.num_steps for step in steps if step.num_steps > 1)
    assert stretched > 1000  # else this test has no power
