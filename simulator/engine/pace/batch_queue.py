"""The steps under way of a batch that steps together, with their times.

With async scheduling two steps are under way: the next one is decided while this one runs and starts when it
ends (vLLM's batch queue of depth 2). Everything happens at the ends of steps.
"""

from __future__ import annotations

from simulator.engine.pace.latency import LatencyModel
from simulator.engine.scheduler import Scheduler
from simulator.engine.step import ScheduledStep


class BatchQueue:
    """`depth` steps at most. `not_before`: no step begins earlier (a stall)."""

    def __init__(self, scheduler: Scheduler, latency: LatencyModel) -> None:
        self.scheduler = scheduler
        self.latency = latency
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

    def launch(self, step: ScheduledStep, at: float) -> None:
        """Give a decided step its index and its times and put it into the queue."""
        queue = self.scheduler.in_flight
        start = max(at, queue[-1].end) if queue else at
        step.start = max(start, self.not_before)
        step.end = step.start + (self.latency.step_seconds(step.shape) + step.load_seconds)
        step.index = self._index
        self._index += 1
        queue.append(step)

    def skip(self, steps: int) -> None:
        """`steps` indices were used elsewhere."""
        self._index += steps

    def check_idle(self) -> bool:
        """Nothing is under way."""
        return not self.scheduler.in_flight
