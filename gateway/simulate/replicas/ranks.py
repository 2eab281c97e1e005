"""A replica in the world: one port, its engine, and the eye of the picker's scraper on it.

A rank is left alone for as long as nobody can tell: until it may say something (`wake`), until something is
given to it, or until somebody reads its metrics. Steps between those moments are taken at once then, in
long stretches, and come out the same as one by one.

How early an engine may say something: an answer ends with its last token, each of its tokens is a step, and
no step with a sequence in it is shorter than that of a lone one without context. Engines of which that is not
so (jitter, timelines of their own, several tokens a step) wake at each step.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from gateway.simulate.replicas.asking import Asking
from gateway.simulate.replicas.scraping import Eye
from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import Request
from simulator.replay.world import Station
from simulator.server.metrics.exposition import Exposition

_UNDER = 1 - 1e-9  # a sum of floats may fall short of the product by so little


class Rank(Station):
    """One data-parallel rank of a pod: what answers on one address and port.

    `unseen` holds the ranks of which the next scrape may say something else than the last; whoever is about
    to read metrics calls `see` for them. `requeue` is told that the engine's next step has moved.
    """

    __slots__ = (
        "_is_even", "_live", "asking", "exposition", "eye", "host_port", "is_up", "next_tick", "on_step",
        "pod", "requeue", "unseen",
    )  # fmt: skip

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
        requeue: Callable[[Station], None],
    ) -> None:
        super().__init__(engine, on_output)
        self.pod, self.host_port, self.asking = pod, host_port, asking
        self.exposition = exposition
        self.eye: Eye | None = None  # None: no endpoint of the picker
        self.is_up = True
        self.next_tick = inf  # the first scrape that was not looked at
        self.unseen, self.requeue = unseen, requeue
        lora = exposition.lora
        self.on_step = lora.on_step if lora is not None and lora.wants_steps else None
        latency = engine.latency
        one_token = getattr(engine.config, "spec", None) is None  # no speculative decoding
        self._is_even = one_token and latency.lockstep and latency.decode_line(1) is not None
        self._live: dict[str, Request] = {}

    def watched_by(self, eye: Eye) -> None:
        self.eye, self.next_tick = eye, eye.ticks.first
        self.unseen.add(self)

    # -- when ------------------------------------------------------------------------------------------------

    def wake(self) -> float | None:
        """Before this time it says nothing; None: it never does."""
        due = self.engine.peek()
        if due is None or not self._is_even or not self._live:
            return due
        line = self.engine.latency.decode_line(1)
        assert line is not None
        return due + max(self._steps_to_word() - 2, 0) * line[0] * _UNDER

    def _steps_to_word(self) -> int:
        """Steps before any sequence may end or say something, this many at least."""
        least = 1 << 30
        for request in self._live.values():
            sampling = request.sampling
            if request.stream or sampling.stop or sampling.stop_token_ids or sampling.repetition_detection:
                return 1
            least = min(least, request.finish_at - request.num_tokens)
        return least

    # -- steps -----------------------------------------------------------------------------------------------

    def accept(self, request: Request, now: float) -> None:
        self.advance(now)
        super().accept(request, now)
        self._live[request.request_id] = request
        if self.eye is not None:
            self.unseen.add(self)

    def forget(self, request_id: str) -> None:
        """A request that is aborted; nothing will be said of it."""
        self._live.pop(request_id, None)

    def advance(self, until: float) -> None:
        """Everything up to `until`, looked at where a scrape came by."""
        if until >= self.next_tick:
            self._look(until)
        super().advance(until)

    def leap(self, until: float) -> None:
        """Steps up to `until` or to the first that says something, looked at where a scrape came by."""
        if until >= self.next_tick:
            assert self.eye is not None
            tick = self.eye.ticks.before(until)
            if self._said(tick):
                return
            self._seen(tick)
        self._said(until)

    def _said(self, until: float) -> bool:
        """Whether it has said something on the way to `until`, where it then stands."""
        engine = self.engine
        while (due := engine.peek()) is not None and due <= until:
            count = max(self._steps_to_word() - 2, 1) if self._is_even and self._live else 1
            steps = engine.fast_forward(until, count)
            self._take(steps)
            if any(step.outputs for step in steps):
                return True
        return False

    def see(self, now: float) -> None:
        """Look, if there was a tick by `now` since the last look."""
        if now >= self.next_tick:
            self._look(now)
            self.requeue(self)

    def _look(self, now: float) -> None:
        """Bring the engine up to the last tick, and look."""
        eye = self.eye
        assert eye is not None
        tick = eye.ticks.before(now)
        super().advance(tick)
        self._seen(tick)

    def _seen(self, tick: float) -> None:
        eye = self.eye
        assert eye is not None
        eye.look()
        self.next_tick = tick + eye.ticks.interval if tick < eye.ticks.last else inf
        if self.engine.peek() is None:
            self.unseen.discard(self)

    def _take(self, steps: list[Any]) -> None:
        if steps and self.eye is not None:
            self.unseen.add(self)
        live, on_step = self._live, self.on_step
        for step in steps:
            if on_step is not None:
                on_step(step)
            for output in step.outputs:
                if output.finish_reason is not None:
                    live.pop(output.request.request_id, None)
        super()._take(steps)
