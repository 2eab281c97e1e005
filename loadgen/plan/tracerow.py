"""One row of a trace, whatever its file looks like, and what of the file was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Writing without blanks between words: a character is about a token.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d]")


@dataclass(slots=True)
class TraceRow:
    """One recorded request: seconds after the first (None: no times), tokens, shared blocks or texts."""

    at: float | None
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Ids of prompt blocks, each of the trace's block size; equal ids are equal text."""
    turns: tuple[tuple[str, str], ...] = ()
    """Texts of question and answer, of conversations."""
    text: str | None = None
    """The prompt, where the trace has it."""
    body: dict[str, Any] | None = None
    """The request itself, in OpenAI's fields."""
    group: str | None = None
    """The conversation or user that it belongs to."""
    delay: float | None = None
    """Seconds after the answer before it, of a later turn."""
    later: list[TraceRow] = field(default_factory=list)
    """The turns after this one, which start by `delay`."""


def count_words(text: str) -> int:
    """Tokens of a text as the plan counts them: words, and characters of writing without blanks."""
    unspaced = len(_UNSPACED.findall(text)) if not text.isascii() else 0
    return unspaced + len((_UNSPACED.sub(" ", text) if unspaced else text).split())


class Reading:
    """How a trace is read: by what its texts are counted, and what of it was left out, by reason."""

    def __init__(self, count: Callable[[str], int] = count_words) -> None:
        self.count = count
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, count: int = 1) -> None:
        """So many more rows were left out for this reason."""
        self._counts[reason] += count

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence for each reason."""
        return tuple(f"{count} rows left out: {reason}" for reason, count in sorted(self._counts.items()))
