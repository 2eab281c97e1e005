"""The same scenario at another rate: all its classes together, their shares as they were."""

from __future__ import annotations

import math
from dataclasses import replace

from loadgen.errors import ScenarioError
from loadgen.scenario.scenario import Arrival, ClassSpec, OnOff, Scenario, Stage


def mean_rate(scenario: Scenario) -> float:
    """Requests (or sessions) a second that the open loops of a scenario start while they last.

    ScenarioError for a class whose rate is not the scenario's to say: a closed loop, a trace's own times.
    """
    return sum(_rate(spec) for spec in scenario.classes)


def scaled(scenario: Scenario, rate: float) -> Scenario:
    """The scenario with this mean rate; the lengths of its stages and bursts stay.

    ScenarioError as mean_rate raises it, or where there is no rate to scale.
    """
    base = mean_rate(scenario)
    if base <= 0:
        raise ScenarioError(f"{scenario.name} has a rate of 0, which no factor makes {rate:g}")
    factor = rate / base
    return replace(
        scenario,
        classes=tuple(replace(spec, arrival=_times(spec.arrival, factor)) for spec in scenario.classes),
    )


def _rate(spec: ClassSpec) -> float:
    arrival = spec.arrival
    if arrival.process == "closed":
        raise ScenarioError(
            f"class {spec.name} is a closed loop: its users decide the rate; change `users:` instead"
        )
    if arrival.process == "trace":
        raise ScenarioError(
            f"class {spec.name} has the times of its trace: change `time_scale:` (--time-scale) instead"
        )
    if arrival.process == "burst":
        return arrival.size / arrival.every
    seconds = sum(stage.duration for stage in arrival.stages)
    if math.isinf(seconds):
        return arrival.stages[-1].rate
    return sum(map(_requests, arrival.stages)) / seconds * _on(arrival.on_off)


def _requests(stage: Stage) -> float:
    """Requests that a stage starts, in the mean."""
    end = stage.rate if stage.end_rate is None else stage.end_rate
    if stage.shape == "exponential" and end != stage.rate:
        return (end - stage.rate) * stage.duration / math.log(end / stage.rate)
    return (stage.rate + end) / 2 * stage.duration


def _on(periods: OnOff | None) -> float:
    """Share of the stages' rate that is left of it by periods."""
    if periods is None:
        return 1.0
    return (periods.on + periods.off * periods.off_rate) / (periods.on + periods.off)


def _times(arrival: Arrival, factor: float) -> Arrival:
    if arrival.process == "burst":
        return replace(arrival, every=arrival.every / factor)
    stages = tuple(
        replace(
            stage,
            rate=stage.rate * factor,
            end_rate=None if stage.end_rate is None else stage.end_rate * factor,
        )
        for stage in arrival.stages
    )
    return replace(arrival, stages=stages)
