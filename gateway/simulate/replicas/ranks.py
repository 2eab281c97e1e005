"""A replica in the world: one port, its engine, and the eye of the picker's scraper on it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from gateway.simulate.replicas.asking import Asking
from gateway.simulate.replicas.scraping import Eye
from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput
from simulator.replay.world import Station
from simulator.server.metrics.exposition import Exposition


class Rank(Station):
    """One data-parallel rank of a pod: what answers on one address and port.

    `unseen` holds the ranks whose state has moved since their last look; whoever is about to read metrics
    calls `see` for them.
    """

    __slots__ = ("asking", "exposition", "eye", "host_port", "is_up", "on_step", "pod", "seen", "unseen")

    def __init__(
        self,
        engine: Engine,
        on_output: Callable[[RequestOutput], None],
        *,
        pod: str,
        host_port: str,
        asking: Asking,
        exposition: Exposition,
        unseen: set[Rank],
    ) -> None:
        super().__init__(engine, on_output)
        self.pod, self.host_port, self.asking = pod, host_port, asking
        self.exposition = exposition
        self.eye: Eye | None = None  # None: no endpoint of the picker
        self.is_up = True
        self.seen = -inf  # the last tick that was looked at
        self.unseen = unseen
        lora = exposition.lora
        self.on_step = lora.on_step if lora is not None and lora.wants_steps else None

    def watched_by(self, eye: Eye) -> None:
        self.eye, self.seen = eye, -inf
        self.unseen.add(self)

    def advance(self, until: float) -> None:
        """Everything up to `until`, looked at where a scrape came by."""
        self._to_last_tick(until)
        super().advance(until)

    def leap(self, until: float) -> None:
        """One step at most, looked at before it where a scrape came by since the last one."""
        due = self.engine.peek()
        if due is not None:
            self.see(min(until, due))
        super().leap(until)

    def see(self, now: float) -> None:
        """Look, if there was a tick by `now` since the last look; the engine has been brought up to it."""
        eye = self.eye
        if eye is None:
            return
        tick = eye.ticks.before(now)
        if tick > self.seen:
            self.seen = tick
            eye.look()
            self.unseen.discard(self)

    def _to_last_tick(self, until: float) -> None:
        eye = self.eye
        if eye is None:
            return
        tick = eye.ticks.before(until)
        if tick > self.seen:
            super().advance(tick)
            self.see(tick)

    def _take(self, steps: list[Any]) -> None:
        if steps and self.eye is not None:
            self.unseen.add(self)
        if self.on_step is not None:
            for step in steps:
                self.on_step(step)
        super()._take(steps)
