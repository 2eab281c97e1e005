"""simfleet from Python: a stack, a fleet, load, verdicts; what the commands do, with results as objects.

    with simfleet.Stack("manifests/", replicas=3) as stack:
        result = simfleet.run("page", target=stack.url, name=stack.name)
        assert result.report.latency.ttft.p99 < 0.3

Everything runs in processes of its own, started and ended as the command lines do it; see docs/python.md.
The pytest plugin (simfleet.pytest_plugin) gives fixtures of the same things.
"""

from __future__ import annotations

from simfleet.errors import CommandError
from simfleet.fleet import Fleet
from simfleet.load import Comparison, Result, compare, run
from simfleet.stack import Pod, Stack
from simfleet.virtual import Simulation, Sizing, simulate, size

__all__ = [
    "CommandError", "Comparison", "Fleet", "Pod", "Result", "Simulation", "Sizing", "Stack", "compare", "run",
    "simulate", "size",
]  # fmt: skip
