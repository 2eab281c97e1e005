"""Runs one Engine in real time.

The engine knows when its next step is due (`peek`); the driver sees to it that `step` is called then, and
hands each output to its sink inside that call: one pass over the batch, no task wake-up per token. The
schedule is absolute. A driver that comes late steps with the time it is and the lag is recorded; the engine
keeps the pace. Who leaves is gone at the next boundary, even where the engine's clock is behind the real one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.request import Request
from simulator.errors import EngineError, InvariantError
from simulator.server.logs import logger
from simulator.server.timer import LagHistogram, Timer, TimerHandle

# Most steps taken at once when the driver is behind; one answer of usual length with zero latency.
_STRETCH = 128
# Most tokens taken at once, as far as whole steps allow: a millisecond or two of streaming.
_TOKENS = 1024


class Sink(Protocol):
    """Takes the outputs of one sequence."""

    def on_output(self, output: RequestOutput) -> None:
        """Called synchronously from the step; must not block. The output with a finish_reason is the last."""


class Driver:
    """One engine's real time. Not thread-safe: everything happens in the loop's thread.

    `on_step`, where set, sees each StepOutput after its outputs are delivered (KV events, LoRA gauge). An
    engine that raises is dead, as vLLM's is: it is never stepped again, and `on_death` is called.
    `batch_rounds` lets requests of one loop round arrive at one moment, so that an engine without latency
    computes them in one batch; with latency it would let them share a step that vLLM gives to the first
    alone.
    """

    __slots__ = (
        "_batch_rounds", "_idle", "_loop", "_queued", "_round", "_sinks", "_stalled", "_stands_still",
        "_timer", "_wakeup", "engine", "is_dead", "lag", "on_death", "on_step", "stretch",
    )  # fmt: skip

    def __init__(self, engine: Engine, timer: Timer, *, batch_rounds: bool = False) -> None:
        self.engine = engine
        self.on_step: Callable[[StepOutput], None] | None = None
        self.on_death: Callable[[], None] | None = None
        self.stretch = _STRETCH  # 1: on_step may stop the engine between any two steps
        self.is_dead = False
        self.lag = LagHistogram()  # of steps: actual minus due
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._sinks: dict[str, Sink] = {}
        self._wakeup: TimerHandle | None = None
        self._queued = False  # for a turn
        self._idle: list[asyncio.Future[None]] = []
        self._stalled = False
        self._batch_rounds = batch_rounds
        self._round = 0.0  # when the engine got the first request that it has not seen yet; 0: none
        self._stands_still = False  # the engine's clock, over a whole turn of steps

    @property
    def num_unfinished(self) -> int:
        """Sequences submitted whose last output has not been delivered."""
        return len(self._sinks)

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue a sequence; its outputs go to `sink` until one has a finish_reason, or until `abort`.

        Raises EngineError where the engine refuses it, or is dead.
        """
        if self.is_dead:
            raise EngineError("the engine is dead")
        now = time.monotonic()
        if self._batch_rounds and self._queued and self._round:
            now = self._round
            request.arrival_time = min(request.arrival_time, now)
        self._round = now
        self.engine.add_request(request, now)
        self._sinks[request.request_id] = sink
        self.schedule()

    def abort(self, request_id: str) -> None:
        """The client is gone: nothing more is delivered, the engine frees it at the next step boundary."""
        self.abort_many((request_id,))

    def abort_many(self, request_ids: Iterable[str]) -> None:
        ids = [request_id for request_id in request_ids if self._sinks.pop(request_id, None) is not None]
        if ids:
            self.engine.abort(ids, self._next_boundary())
            self.schedule()
        self._notify_idle()

    def end_many(self, request_ids: Iterable[str]) -> None:
        """The server ends them: at the next step boundary each gets its last output, which says so."""
        self.engine.abort(request_ids, self._next_boundary(), by="server")
        self.schedule()

    def _next_boundary(self) -> float:
        """On the engine's clock, where that is behind: what lies before the present may take minutes."""
        now, due = time.monotonic(), self.engine.peek()
        return now if due is None else min(due, now)

    def stall(self) -> None:
        """Stop stepping (a fault); requests queue up. `resume` goes on from the present."""
        self._stalled = True
        self._unschedule()

    def resume(self) -> None:
        self._stalled = self.is_dead
        self.schedule()

    async def wait_idle(self) -> None:
        """Until no sequence is unfinished."""
        if self._sinks:
            future = self._loop.create_future()
            self._idle.append(future)
            await future

    def close(self) -> None:
        """Never step again."""
        self._stalled = True
        self._unschedule()

    def schedule(self) -> None:
        """See to it that the engine's next step happens; call after anything that gives the engine work."""
        due = None if self._stalled else self.engine.peek()
        if due is None or self._queued:
            return
        if due <= time.monotonic():
            self._cancel_wakeup()
            self._queued = True
            self._timer.turns.join(self._take_turn)
        elif self._wakeup is None or self._wakeup.callback is None or due < self._wakeup.when:
            self._cancel_wakeup()
            self._wakeup = self._timer.call_at(due, self._wake)

    def _unschedule(self) -> None:
        self._cancel_wakeup()
        if self._queued:
            self._queued = False
            self._timer.turns.leave(self._take_turn)

    def _cancel_wakeup(self) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None

    def _wake(self) -> None:
        """By the timer: what is due now; who is behind goes on in turns with the others."""
        self._wakeup = None
        self._take_turn(0.0)

    def _take_turn(self, deadline: float) -> None:
        """Steps that are due, until they have caught up or the deadline is past."""
        engine = self.engine
        self._queued = False
        self._round = 0.0
        now = time.monotonic()
        if self._stands_still:
            engine.catch_up(now)
        due = first = engine.peek()
        try:
            while due is not None and due <= now and not self._stalled:
                for step in self._advance(now):
                    if step.num_steps:
                        self.lag.observe_all(now, step.times or (step.end,))
                    self._deliver(step)
                due = engine.peek()
                now = time.monotonic()
                if now >= deadline:
                    break
        finally:
            self._stands_still = due is not None and due == first
            self.schedule()  # a sink that fails must not stop the engine under all others

    def _advance(self, now: float) -> list[StepOutput]:
        """What the engine has done by `now`; nothing if that killed it."""
        try:
            batch = min(len(self._sinks), self.engine.config.max_num_seqs) or 1
            return self.engine.fast_forward(now, min(self.stretch, _TOKENS // batch or 1))
        except Exception as error:  # a bug of the engine; logged, and its replica answers 500 from now on
            if isinstance(error, InvariantError) and self.engine.config.check_invariants:
                self._stalled = True
                raise  # the process is to end: the loop's exception handler sees to it
            logger.exception("engine died")
            self.is_dead = self._stalled = True
            if self.on_death is not None:
                self.on_death()
            return []

    def _deliver(self, step: StepOutput) -> None:
        sinks = self._sinks
        for output in step.outputs:
            request_id = output.request.request_id
            sink = sinks.get(request_id)
            if sink is None:
                continue
            if output.finish_reason is not None:
                del sinks[request_id]
            try:
                sink.on_output(output)
            except Exception:  # noqa: BLE001 - the others in this step are not to miss their outputs
                logger.exception("a sink failed; its sequence ends")
                self.abort(request_id)
        if self.on_step is not None:
            self.on_step(step)
        if not sinks:
            self._notify_idle()

    def _notify_idle(self) -> None:
        if self._sinks or not self._idle:
            return
        waiting, self._idle = self._idle, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
