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
    request: Request | None = None  # while it runs: its ids and hashes are large
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
    prompt_tokens: int | None = None  # what the engine counted; None: it never had the request
    cached_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    answered: dict[str, str] = field(default_factory=dict)  # headers of the answer
    sent_bytes: int = 0

    def settle(self) -> None:
        """Keep what the engine counted and let go of the rest."""
        request = self.request
        if request is not None:
            self.prompt_tokens = request.num_prompt_tokens
            self.cached_tokens = max(request.num_cached_tokens, 0)
            self.output_tokens = request.num_output_tokens
            self.preemptions = request.num_preemptions
            self.request = None
