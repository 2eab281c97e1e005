"""The load generator's side: who sends what next, by the rules that `loadgen run` keeps.

Open units start at their time, a turn `think` seconds after the answer before it ended, a user of a closed
loop its next request likewise; a failed attempt is tried again as the class says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

from gateway.simulate.calls import Call, Job
from gateway.simulate.feed import Feed, Rules, Unit
from simulator.replay.world import World

AHEAD = 256  # open units that stand in the world's queue at once


@dataclass(slots=True)
class _Closed:
    """The units of one closed-loop class that its users have yet to do."""

    rules: Rules
    units: deque[Unit]
    spent: list[Unit] = field(default_factory=list)
    rounds: int = 1

    def take(self) -> Unit | None:
        if not self.units and self.rules.wrap and self.spent:
            self.rounds += 1
            self.units, self.spent = deque(self.spent), []
        if not self.units:
            return None
        unit = self.units.popleft()
        if self.rules.wrap:
            self.spent.append(unit)
        return unit


class Client:
    """Sends a feed through `send`; last attempts go to `record`, what was never due to `skip`.

    `pending` counts what is under way or will become due.
    """

    def __init__(
        self,
        world: World,
        feed: Feed,
        *,
        send: Callable[[Call], None],
        record: Callable[[Job, Call], None],
        skip: Callable[[Job, str], None],
        finished: Callable[[], None],
    ) -> None:
        self._world, self._feed = world, feed
        self._send, self._record, self._skip = send, record, skip
        self._finished = finished
        self._t0 = 0.0
        self._opened: Iterator[Unit] = iter(feed.opened)
        self._closed: dict[str, _Closed] = {}
        self._tokens: dict[tuple[str, int], str | None] = {}  # of a closed loop's users
        self._more = True
        self.pending = 0
        self.sent = 0

    def start(self, t0: float) -> None:
        """Everything is relative to `t0`, which is not past."""
        self._t0 = t0
        for name, units in self._feed.closed.items():
            rules = units[0].rules
            self._closed[name] = _Closed(rules, deque(units))
            for user in range(rules.users or 0):
                self._next_of_user(name, user, t0)
        self._fill()
        self._check_end()

    def _fill(self) -> None:
        """Put the next open units into the queue; the last of them comes back here."""
        unit = None
        for number, unit in enumerate(self._opened, 1):
            self._begin(unit, self._t0 + (unit.asks[0].at or 0.0))
            if number == AHEAD:
                self._world.at(self._t0 + (unit.asks[0].at or 0.0), self._fill)
                return
        self._more = False
        self._check_end()

    def _begin(self, unit: Unit, at: float) -> None:
        self._due(Job(unit.asks[0].id, unit, 0, at, self._done), at)

    def _due(self, job: Job, at: float) -> None:
        self.pending += 1
        self._world.at(at, self._start, job)

    def _start(self, job: Job) -> None:
        self.sent += not job.tries
        self._send(Call(job, self._world.now))

    def _done(self, call: Call) -> None:
        """An attempt has ended, now."""
        job, rules = call.job, call.job.unit.rules
        self.pending -= 1
        job.tries.append(call)
        if call.outcome in rules.retry_on and len(job.tries) < rules.attempts:
            self._due(job, self._world.now + _delay(rules, job))
        else:
            self._record(job, call)
            self._after(job, call)
        self._check_end()

    def _after(self, job: Job, call: Call) -> None:
        unit, ok, now = job.unit, call.outcome == "ok", self._world.now
        token = call.answered.get("x-session-token") or job.token
        if ok:
            job.answers[job.turn] = call.text
        if job.turn + 1 < len(unit.asks):
            if ok or unit.rules.goes_on:
                later = Job(unit.asks[job.turn + 1].id, unit, job.turn + 1, 0.0, job.done, job.answers, token)
                later.user, later.round = job.user, job.round
                later.id = later.named()
                later.intended = now + later.ask.think
                self._due(later, later.intended)
                return
            for turn in range(job.turn + 1, len(unit.asks)):
                self._skip(
                    Job(unit.asks[turn].id, unit, turn, now, job.done),
                    "an earlier turn of the session failed",
                )
        if job.user is not None:
            name = unit.asks[0].cls
            self._tokens[name, job.user] = token
            self._next_of_user(name, job.user, now if ok else now + unit.rules.pause_on_error)

    def _next_of_user(self, name: str, user: int, now: float) -> None:
        closed = self._closed[name]
        limit = closed.rules.duration
        if limit is not None and now - self._t0 >= limit:
            return
        unit = closed.take()
        if unit is None:
            return
        due = now + unit.asks[0].think
        if limit is not None and due - self._t0 >= limit:
            return
        job = Job(unit.asks[0].id, unit, 0, due, self._done, token=self._tokens.get((name, user)))
        job.user, job.round = user, closed.rounds
        job.id = job.named()
        self._due(job, due)

    def _check_end(self) -> None:
        if not self.pending and not self._more:
            self._finished()


def _delay(rules: Rules, job: Job) -> float:
    """Seconds before the next try; the load generator's own spread of them."""
    jitter = crc32(f"{job.ask.id}/{len(job.tries)}".encode()) / 2**32
    delay = min(rules.max_backoff, rules.backoff * rules.factor ** (len(job.tries) - 1))
    return delay * (1 + rules.jitter * (2 * jitter - 1))
