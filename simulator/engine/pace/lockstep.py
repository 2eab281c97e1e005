"""Pacing of a batch that steps together: every sequence of a step is done when the step is done."""

from __future__ import annotations

from simulator.engine.frontend import Frontend
from simulator.engine.inbox import Arrivals
from simulator.engine.outputs import StepOutput
from simulator.engine.pace.batch_queue import BatchQueue
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.pace.stretch import Stretches
from simulator.engine.scheduler import Scheduler


class Lockstep(BatchQueue):
    """Keeps the queue full, step by step or in stretches."""

    def __init__(
        self, scheduler: Scheduler, latency: LatencyModel, frontend: Frontend, arrivals: Arrivals
    ) -> None:
        super().__init__(scheduler, latency)
        self._stretches = Stretches(scheduler, self, frontend, arrivals)

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

    def catch_up(self, now: float) -> None:
        """Steps that should have ended do so at `now`."""
        for step in self.scheduler.in_flight:
            if step.end < now:
                step.start = step.end = now

    def fast(self, until: float, before: float, max_steps: int) -> StepOutput | None:
        """A stretch of steps that end at or before `until` and earlier than `before`; None: there is none."""
        if not self.scheduler.has_notes:
            return None
        return self._stretches.take(until, before, max_steps)
