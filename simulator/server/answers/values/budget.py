"""What one invented text may cost, so that no request holds the event loop that others live on.

Two bounds: nobody sees more of a text than max_tokens lets through, so nothing is made beyond that; and what
would take more than a few hundredths of a second is refused with 400. Both are counts, not times: equal seeds
give equal texts on any machine.
"""

from __future__ import annotations

from typing import Any

from simulator.server.errors import ApiError

MAX_STEPS = 5_000  # values, repetitions, properties, keywords and characters of patterns looked at
MAX_CHARS = 50_000
# No vocabulary has longer tokens to speak of: a text of so many characters a token outlasts max_tokens.
_CHARS_PER_TOKEN = 128


class Budget:
    """Counts work and characters of one text. `max_tokens` None: the whole text is wanted."""

    __slots__ = ("_enough", "chars", "patterns", "steps")

    def __init__(self, max_tokens: int | None = None) -> None:
        self.steps = 0
        self.chars = 0
        self.patterns: dict[str, Any] = {}  # parsed: one is often drawn from many times
        self._enough = float("inf") if max_tokens is None else max_tokens * _CHARS_PER_TOKEN

    def cut(self, text: str) -> str:
        """As much of `text` as max_tokens may let through."""
        return text if len(text) <= self._enough else text[: int(self._enough)]

    @property
    def is_enough(self) -> bool:
        """Whether max_tokens cuts the text off before its end: what follows is seen by nobody."""
        return self.chars >= self._enough

    def step(self, count: int = 1) -> None:
        """Work was done; raises ApiError beyond MAX_STEPS."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise ApiError(
                "The structured output asked for is too complex: it takes more than "
                f"{MAX_STEPS} values, repetitions and schema keywords."
            )

    def write(self, chars: int) -> None:
        """Characters were made; raises ApiError beyond MAX_CHARS."""
        self.chars += chars
        if self.chars > MAX_CHARS:
            raise ApiError(
                f"The structured output asked for is too long: more than {MAX_CHARS} characters. "
                "Ask for less, or for fewer tokens (max_tokens)."
            )

    def seen_of(self, chars: int) -> int:
        """How many of the next `chars` characters anybody sees; raises ApiError beyond MAX_CHARS."""
        seen = min(chars, max(0, self._enough - self.chars))
        if self.chars + seen > MAX_CHARS:
            self.write(MAX_CHARS + 1)  # more than there may be
        return int(seen)
