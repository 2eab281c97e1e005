"""Pacing of a batch that steps together: every sequence of a step is done when the step is done.

With async scheduling two steps are under way: the next one is decided while this one runs and starts when it
ends (vLLM's batch queue of depth 2). Everything happens at the ends of steps.
"""

from __future__ import annotations

from simulator.engine.frontend import Frontend
from simulator.engine.inbox import Arrivals
from simulator.engine.outputs import StepOutput
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.pace.stretch import Stretches
from simulator.engine.scheduler import Scheduler
from simulator.engine.step import ScheduledStep


class Lockstep:
    """`not_before`: no step begins earlier (a stall)."""

    def __init__(
        self, scheduler: Scheduler, latency: LatencyModel, frontend: Frontend, arrivals: Arrivals
    ) -> None:
        self.scheduler = scheduler
        self.latency = latency
        self._stretches = Stretches(scheduler, self, frontend, arrivals)
        self.depth = 2 if scheduler.config.async_scheduling else 1
        self.not_before = 0.0
        self._index = 0

    def next_time(self) -> float | None:
        """When the oldest step under way ends."""
        queue = self.scheduler.in_flight
        return queue[0].end if queue else None

    def complete(self, at: float) -> ScheduledStep | None:
        """The step that ends at or before `at`, taken out of the queue."""
        queue = self.scheduler.in_flight
        return queue.popleft() if queue and queue[0].end <= at else None

    def fill(self, at: float) -> bool:
        """Schedule until the queue is full; False: a schedule came back empty."""
        scheduler = self.scheduler
        queue = scheduler.in_flight
        while len(queue) < self.depth:
            step = scheduler.schedule(at)
            if step.scheduled:
                self.launch(step, at)
            elif not step.preempted:
                return False
        return True

    def launch(self, step: ScheduledStep, at: float) -> None:
        """Give a decided step its index and its times and put it into the queue."""
        queue = self.scheduler.in_flight
        start = max(at, queue[-1].end) if queue else at
        step.start = max(start, self.not_before)
        step.end = step.start + (self.latency.step_seconds(step.shape) + step.load_seconds)
        step.index = self._index
        self._index += 1
        queue.append(step)

    def catch_up(self, now: float) -> None:
        """Steps that should have ended do so at `now`."""
        for step in self.scheduler.in_flight:
            if step.end < now:
                step.start = step.end = now

    def fast(self, until: float, before: float, max_steps: int) -> StepOutput | None:
        """A stretch of steps that end at or before `until` and earlier than `before`; None: there is none."""
        return self._stretches.take(until, before, max_steps)

    def skip(self, steps: int) -> None:
        """`steps` indices were used elsewhere."""
        self._index += steps

    def check_idle(self) -> bool:
        """Nothing is under way."""
        return not self.scheduler.in_flight
