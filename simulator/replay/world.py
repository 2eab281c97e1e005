"""Engines and events in one virtual clock, each thing in its time and order.

`at` puts events; a `Station` is an engine and who hears of its outputs. Events of one moment happen in the
order in which they were put. Engines step between events: all that is due up to an event is done before it.

Where what an engine finishes can send it, or another, new work (`feedback`, the shortest time in seconds that
lies between the two), an engine may not run past what another could still send it: then engines go step by
step in order of time. Without feedback each runs to the next event in one go.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any

from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import Request

_STEPS = 5000  # taken at once, so that outputs of an engine that runs for long do not pile up

OnOutput = Callable[[RequestOutput], None]


class Station:
    """One engine in the world. `steps` counts those it has taken."""

    __slots__ = ("due", "end", "engine", "on_output", "order", "steps")

    def __init__(self, engine: Engine, on_output: OnOutput) -> None:
        self.engine = engine
        self.on_output = on_output
        self.due: float | None = None  # as the world has it in its queue
        self.order = 0
        self.steps = 0
        self.end = 0.0  # of the last step

    def wake(self) -> float | None:
        """When the engine has to be stepped, at the latest; None: not before something is given to it."""
        return self.engine.peek()

    def accept(self, request: Request, now: float) -> None:
        """Queue a request at the engine. Raises EngineError as the engine does."""
        self.engine.add_request(request, now)

    def advance(self, until: float) -> None:
        """Everything that the engine does up to `until`."""
        engine = self.engine
        while (due := engine.peek()) is not None and due <= until:
            self._take(engine.fast_forward(until, _STEPS))

    def leap(self, until: float) -> None:
        """One step, or as many as say nothing, up to `until`."""
        self._take(self.engine.fast_forward(until, 1))

    def _take(self, steps: list[Any]) -> None:
        on_output = self.on_output
        for step in steps:
            self.steps += step.num_steps
            self.end = step.end
            for output in step.outputs:
                on_output(output)


class World:
    """The clock, what is to happen, and the engines. `now` is monotonic seconds."""

    def __init__(self, start: float = 0.0, feedback: float | None = None) -> None:
        self.now = start
        self.feedback = feedback
        self.interrupted = False  # an event has to leave `run_until` after it
        self.stations: list[Station] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._dues: list[tuple[float, int, Station]] = []
        self._order = count()

    def add(self, station: Station) -> None:
        station.order = next(self._order)
        self.stations.append(station)

    def remove(self, station: Station) -> None:
        """Whose engine is not stepped any more."""
        station.due = None
        self.stations.remove(station)

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Have `call(*arguments)` happen at `when`, or now where that is past."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), call, arguments))

    def give(self, station: Station, request: Request, when: float) -> None:
        """Queue a request at an engine. Raises EngineError as the engine does."""
        station.accept(request, when)
        self.queue(station)

    def queue(self, station: Station) -> None:
        """To be called after anything that may have moved the time at which a station wakes."""
        due = station.wake()
        if due is not None and due != station.due:
            heapq.heappush(self._dues, (due, station.order, station))
        station.due = due

    def next_event(self) -> float:
        return self._events[0][0] if self._events else inf

    def is_idle(self) -> bool:
        """Whether nothing is going to happen by itself."""
        return not self._events and self._next_due() == inf

    def run_until(self, limit: float = inf) -> None:
        """Everything up to and including `limit`, or to where an event interrupts."""
        self.interrupted = False
        while not self.interrupted:
            self._advance(min(self.next_event(), limit))
            if self.next_event() > limit or not self._events:
                if limit < inf:
                    self.now = max(self.now, limit)
                return
            self.now, _, call, arguments = heapq.heappop(self._events)
            call(*arguments)

    def _advance(self, until: float) -> None:
        if self.feedback is not None:
            self._leap(until)
            return
        while (due := self._next_due()) <= until and due < inf:
            station = self._pop()
            station.advance(until)
            self.queue(station)

    def _leap(self, until: float) -> None:
        feedback = self.feedback or 0.0
        while (due := self._next_due()) <= (limit := min(until, self.next_event())) and due < inf:
            station = self._pop()
            station.leap(max(due, min(limit, self._next_due() + feedback)))
            self.queue(station)

    def _next_due(self) -> float:
        dues = self._dues
        while dues and dues[0][2].due != dues[0][0]:
            heapq.heappop(dues)  # moved or removed since
        return dues[0][0] if dues else inf

    def _pop(self) -> Station:
        station = heapq.heappop(self._dues)[2]
        station.due = None
        return station
