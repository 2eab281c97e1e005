"""What a worker has to send: planned requests read from the plan a stretch ahead, turns and users.

A `Unit` is what one slot of the plan does on its own: a single request, or all turns of a session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from loadgen.plan.plan import ClassPlan, PlanHeader, PlannedRequest, SharedText, join_body, read_plan
from loadgen.records.records import Attempt

AHEAD_REQUESTS = 20_000
AHEAD_BYTES = 64 << 20


class Unit:
    """A request or a session, and what a session remembers from one turn to the next."""

    __slots__ = ("answers", "plan", "requests", "texts", "token", "user", "worker_round")

    def __init__(self, plan: ClassPlan, requests: list[PlannedRequest], texts: dict[int, str]) -> None:
        self.plan = plan
        self.requests = requests
        self.texts = texts
        self.answers: dict[int, str] = {}
        self.token: str | None = None
        self.user: User | None = None
        self.worker_round = 1

    @property
    def is_session(self) -> bool:
        return len(self.requests) > 1

    def body(self, turn: int, shared: dict[int, str]) -> bytes:
        """Body of a turn, with the real answers of the turns before it."""
        texts = shared if not self.texts else {**shared, **self.texts}
        return join_body(self.requests[turn].body, texts, self.answers, self.plan.words)


class Job:
    """One intended request while it waits, runs and is tried again."""

    __slots__ = ("attempts", "due", "intended", "payload", "request", "turn", "unit")

    def __init__(self, unit: Unit, turn: int, intended: float) -> None:
        self.unit = unit
        self.turn = turn
        self.request = unit.requests[turn]
        self.intended = intended
        self.due = intended
        self.payload: bytes = b""
        self.attempts: list[Attempt] = []

    @property
    def plan(self) -> ClassPlan:
        return self.unit.plan

    @property
    def id(self) -> str:
        """The plan's name for the request; with its round where a closed loop sends it again."""
        again = self.unit.worker_round
        return self.request.id if again == 1 else f"{self.request.id}#{again}"


class User:
    """One user of a closed loop; carries the session token of what it did last."""

    __slots__ = ("cls", "token")

    def __init__(self, cls: str) -> None:
        self.cls = cls
        self.token: str | None = None


class PlanCursor:
    """Reads a worker's part of a plan, in order, never much further ahead than it must."""

    def __init__(self, path: Path, header: PlanHeader, worker: int, workers: int) -> None:
        self.header = header
        self.shared: dict[int, str] = {}
        self._lines = read_plan(path, worker, workers)
        self._pending: PlannedRequest | None = None
        self._own: dict[int, dict[int, str]] = {}
        self.exhausted = False

    def _next_line(self) -> PlannedRequest | None:
        if self._pending is not None:
            line, self._pending = self._pending, None
            return line
        for item in self._lines:
            if not isinstance(item, SharedText):
                return item
            if item.slot is None:
                self.shared[item.text] = item.value
            else:
                self._own.setdefault(item.slot, {})[item.text] = item.value
        return None

    def next_unit(self) -> Unit | None:
        """The next unit of this worker, None at the end of the plan."""
        first = self._next_line()
        if first is None:
            self.exhausted = True
            return None
        requests = [first]
        while len(requests) < (first.turns or 1):
            line = self._next_line()
            if line is None:
                break
            requests.append(line)
        return Unit(self.header.classes[first.cls], requests, self._own.pop(first.slot, {}))

    def __iter__(self) -> Iterator[Unit]:
        while (unit := self.next_unit()) is not None:
            yield unit


class ClosedClass:
    """The users of one closed-loop class on this worker and the units they have yet to do."""

    def __init__(self, name: str, plan: ClassPlan, users: int) -> None:
        self.name = name
        self.plan = plan
        self.users = [User(name) for _ in range(users)]
        self.units: deque[Unit] = deque()
        self._spent: list[Unit] = []
        self.rounds = 1

    def take(self) -> Unit | None:
        """The next unit; the first again when a duration outlasts the plan and the plan allows it."""
        if not self.units and self.plan.wrap and self._spent:
            self.rounds += 1
            self.units = deque(self._spent)
            self._spent = []
        if not self.units:
            return None
        unit = self.units.popleft()
        if self.plan.wrap:
            self._spent.append(unit)
            if self.rounds > 1:
                again = Unit(unit.plan, unit.requests, unit.texts)
                again.worker_round = self.rounds
                return again
        return unit


def users_of_worker(users: int, worker: int, workers: int) -> int:
    """How many of a class's users a worker has: they differ by one at most."""
    return users // workers + (1 if worker < users % workers else 0)
