"""One attempt at a request: what becomes of it, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.picker.director import Routed
from gateway.simulate.feed import Ask, Unit
from gateway.simulate.replicas.ranks import Rank
from simulator.engine.request import Request


@dataclass(slots=True)
class Job:
    """One intended request while it waits, runs and is tried again; times are the world's."""

    id: str
    unit: Unit
    turn: int
    intended: float
    done: Callable[[Call], None]  # hears of the end of each try
    answers: dict[int, str] = field(default_factory=dict)
    token: str | None = None  # of the session, as the gateway gave it
    tries: list[Call] = field(default_factory=list)
    user: int | None = None  # of a closed loop
    round: int = 1  # in which a closed loop sends the unit

    def named(self) -> str:
        """The plan's name for the request, with its round where a closed loop sends it again."""
        return self.ask.id if self.round == 1 else f"{self.ask.id}#{self.round}"

    @property
    def ask(self) -> Ask:
        return self.unit.asks[self.turn]


@dataclass(slots=True, eq=False)
class Call:
    """One attempt; `outcome` is empty while it runs."""

    job: Job
    start: float
    headers: dict[str, str] = field(default_factory=dict)
    routed: Routed | None = None
    rank: Rank | None = None
    request: Request | None = None
    key: str = ""  # of its engine request
    begun: float | None = None  # when the server began to answer, as the client sees it
    first: float | None = None
    last: float | None = None
    end: float | None = None
    outcome: str = ""
    status: int | None = None
    error: str | None = None
    text: str = ""
    tokens: int = 0  # that came, where the client counts them
    answered: dict[str, str] = field(default_factory=dict)  # headers of the answer
    sent_bytes: int = 0
