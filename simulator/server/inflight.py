"""A request in flight, as those see it who end it from outside: shutdowns, aborts, faults, a dead engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from simulator.engine.request import Request
from simulator.server.errors import ApiError


class ChoiceInFlight(Protocol):
    """One sequence of a request."""

    @property
    def request(self) -> Request:
        """What the engine was given."""


class InFlight(Protocol):
    """One client request whose answer is not complete (`answers.generation.Generation`)."""

    @property
    def answer_id(self) -> str:
        """The id that the answer carries."""

    @property
    def sequences(self) -> Sequence[ChoiceInFlight]: ...

    def fail(self, error: ApiError | None = None) -> None:
        """End the answer with an error, vLLM's 500 where none is given."""
