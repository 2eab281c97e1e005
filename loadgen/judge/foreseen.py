"""Expectations read against what a run can have, before anything is sent: figures, statistics, units.

A run's report has its figures by their types alone, so a name is known to be one, and of which unit, without
a run. What only a run can tell (the names of pods, values) is left open.
"""

from __future__ import annotations

import math
import re

from loadgen.errors import ScenarioError
from loadgen.judge.figures import Figures
from loadgen.judge.named_figures import KEYED, RECOVERY, SPLITS, statistic_unit, unit_of
from loadgen.judge.report import Report
from loadgen.numbers.expect import ExpectError, judge
from loadgen.numbers.outcomes import OUTCOMES
from loadgen.numbers.quantity import Quantity
from loadgen.scenario.scenario import Scenario

_STAGE = re.compile("[0-9]+")


def check_expectations(scenario: Scenario) -> None:
    """ScenarioError for the first expectation that no run of this scenario could be judged by."""
    for expectation in scenario.expect:
        try:
            judge(expectation.text, lambda path: _foreseen(scenario, path))
        except ExpectError as error:
            raise ScenarioError(f"expect: {error}", file=scenario.source, line=expectation.line) from error


def _foreseen(scenario: Scenario, path: str) -> Quantity:
    """A figure without its value; KeyError, with words for the user, when there can be none."""
    match = KEYED.fullmatch(path)
    kind, name, rest = match.groups() if match else ("", "", path)
    if kind in ("arm", "delta"):
        _one_of(kind, name, [arm.name for arm in scenario.arms])
        inner = _foreseen(scenario, rest)
        return Quantity(math.nan, "share") if kind == "delta" else inner
    if kind in SPLITS:
        if kind == "class":
            _one_of(kind, name, [spec.name for spec in scenario.classes])
        elif kind == "stage" and not _STAGE.fullmatch(name):
            raise KeyError(f"no stage {name!r}: stages are counted from 0")
        return Quantity(math.nan, unit_of(Figures, rest, path))
    if kind == "refused":
        _one_of(kind, name, OUTCOMES)
        return Quantity(math.nan, statistic_unit(rest, path))
    if path.startswith("recovery"):
        return _recovery(scenario, path)
    return Quantity(math.nan, unit_of(Report, path, path))


def _recovery(scenario: Scenario, path: str) -> Quantity:
    """How long an event of the timeline was felt; one that a hand marks is known to the run alone."""
    found = RECOVERY.fullmatch(path)
    if found is None:
        raise KeyError(f"no figure {path!r}; did you mean recovery.seconds or recovery[EVENT].seconds?")
    if found[1] is not None and scenario.timeline:
        _one_of("event", found[1], [event.name for event in scenario.timeline])
    return Quantity(math.nan, "time")


def _one_of(kind: str, name: str, names: list[str] | tuple[str, ...]) -> None:
    if name not in names:
        raise KeyError(f"no {kind} {name!r} in this scenario; there is {', '.join(names) or 'none'}")
