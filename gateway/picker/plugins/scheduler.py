"""One scheduling cycle: filters in order, then scorers weighted and added up, then the picker.

The arithmetic is the EPP's: total += clamp(score, 0, 1) * weight, in the order of the profile, in float64.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.picker.compat import Compat
from gateway.picker.errors import RequestError
from gateway.picker.plugins.base import Filter, Picker, Plugin, Producer, Scorer
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

# (extension point, plugin, seconds)
Observer = Callable[[str, Plugin, float], None]


@dataclass(slots=True)
class Profile:
    """A schedulingProfile with its plugins resolved; `scorers` are (scorer, weight)."""

    name: str
    filters: list[Filter]
    scorers: list[tuple[Scorer, float]]
    picker: Picker


@dataclass(slots=True)
class Cycle:
    """What one cycle did, for the pick and for the decision log; lists run along `candidates`."""

    profile: str
    candidates: list[Candidate] = field(default_factory=list)  # after the filters
    scores: list[tuple[str, Sequence[float]]] = field(default_factory=list)  # by scorer name, unweighted
    weights: list[float] = field(default_factory=list)  # of these scorers
    totals: list[float] = field(default_factory=list)
    picked: list[Candidate] = field(default_factory=list)
    others: Mapping[str, Cycle] | None = None  # of the profiles beside it, by name
    port: int = 0  # that the request goes to, whatever the endpoint's own
    picker: str = ""  # type of the plugin that chose
    removed: list[tuple[str, list[Candidate], list[Candidate]]] = field(default_factory=list)
    """Of each filter that took somebody out: its name, the candidates before it and after."""


@dataclass(slots=True)
class Scheduler:
    """The profile that runs, the producers before it, and who hears of the time each plugin took."""

    profile: Profile
    producers: list[Producer]
    observe: Observer | None = None

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        """Let every producer add its data."""
        for producer in self.producers:
            start = time.perf_counter()
            producer.prepare(request, candidates)
            self._observed("PrepareData", producer, start)

    def run(self, request: InferenceRequest, candidates: list[Candidate]) -> Cycle:
        """One cycle; RequestError as the EPP words it when no candidate is left."""
        cycle = Cycle(self.profile.name, candidates, picker=self.profile.picker.type_name)
        for item in self.profile.filters:
            start = time.perf_counter()
            before, cycle.candidates = cycle.candidates, item.filter(request, cycle.candidates)
            self._observed("Filter", item, start)
            if len(cycle.candidates) < len(before):
                cycle.removed.append((item.name, before, cycle.candidates))
            if not cycle.candidates:
                raise UnschedulableError(cycle)
        cycle.totals = [0.0] * len(cycle.candidates)
        for scorer, weight in self.profile.scorers:
            start = time.perf_counter()
            scores = scorer.score(request, cycle.candidates)
            self._observed("Scorer", scorer, start)
            if len(scores) != len(cycle.candidates):
                given, wanted = len(scores), len(cycle.candidates)
                raise RequestError(
                    "Internal", f"scorer '{scorer.name}' gave {given} scores for {wanted} candidates"
                )
            cycle.scores.append((scorer.name, scores))
            cycle.weights.append(weight)
            for index, score in enumerate(scores):
                cycle.totals[index] += (score if 0.0 < score < 1.0 else _clamped(score)) * weight
        start = time.perf_counter()
        cycle.picked = self.profile.picker.pick(cycle.candidates, cycle.totals)
        self._observed("Picker", self.profile.picker, start)
        return cycle

    def _observed(self, point: str, plugin: Plugin, start: float) -> None:
        if self.observe is not None:
            self.observe(point, plugin, time.perf_counter() - start)


class UnschedulableError(RequestError):
    """The filters left no candidate; `cycle` is as far as it got."""

    def __init__(self, cycle: Cycle, compat: Compat | None = None, message: str = "") -> None:
        """`message`: why, where it is not that a profile found nobody."""
        prefix = compat.unschedulable_prefix if compat else ""
        self.reason = message or f"failed to run scheduler profile '{cycle.profile}'"
        told = compat.filtered_message if compat else ""
        dropped = "rejected-saturated" if told else None
        super().__init__("ResourceExhausted", told or prefix + self.reason, dropped)
        self.cycle = cycle


def _clamped(score: float) -> float:
    if score >= 1.0:
        return 1.0
    # A NaN is no reason to send a request anywhere.
    return 0.0 if score <= 0.0 or math.isnan(score) else float(score)
