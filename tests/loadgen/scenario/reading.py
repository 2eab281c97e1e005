"""Short scenarios for the tests of keys: one key each, on a line that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import ScenarioError
from loadgen.scenario.read import Overrides, read_scenario
from loadgen.scenario.scenario import Arrival, ClassSpec, Scenario

ARRIVAL = "arrival: {rate: 1, requests: 1}"


def top(line: str, *, directory: Path | None = None) -> Scenario:
    """A scenario with one more line at its top, which is line 1."""
    return read_scenario(f"{line}\nmodel: m\ndefaults: {{{ARRIVAL}}}\n", "s.yaml", directory)


def one_class(fields: str, *, directory: Path | None = None, replay: bool = False) -> ClassSpec:
    """The only class of a scenario, its fields on line 3."""
    over = Overrides(replay=replay)
    text = f"model: m\nclasses:\n  a: {{{fields}}}\n"
    return read_scenario(text, "s.yaml", directory, over).classes[0]


def arrival(fields: str) -> Arrival:
    return one_class(f"arrival: {{{fields}}}").arrival


def refused(read: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        read(*args, **options)
    return str(caught.value)
