"""What one sequence says: the OutputPlan Protocol, and the plans there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from simulator.engine.text.output_length import ThinkingLength


@dataclass(frozen=True, slots=True)
class Thought:
    """That a model thinks before it answers, and how it says so: texts in pieces that are encoded apart.

    `budget` tokens at most (vLLM's thinking_token_budget; None: no limit); who reaches it is made to say
    `forced_closing`. `gap` follows, but where the answer is constrained; `ending` closes the answer.
    """

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    length: ThinkingLength
    gap: tuple[str, ...] = ()
    ending: tuple[str, ...] = ()
    budget: int | None = None
    forced_closing: tuple[str, ...] = ()


class OutputPlan(Protocol):
    """The answer of one sequence, decided when the request is added."""

    @property
    def length(self) -> int | None:
        """Tokens before EOS; None: never stops by itself. `token(length)` is the EOS id, which counts as
        an output token, as in vLLM. min_tokens and ignore_eos are already in it."""

    def token(self, i: int) -> int:
        """Id at output position i: deterministic, random access, any i >= 0 (EOS at and after `length`)."""

    def tokens(self, start: int, stop: int) -> list[int]:
        """`[token(i) for i in range(start, stop)]`, at the speed of slices."""


class TokenPlan:
    """First `head`, then `ring` from `start` on, round and round; EOS from `length` on."""

    __slots__ = ("_eos", "_head", "_head_size", "_ring", "_start", "length")

    def __init__(
        self, head: Sequence[int], ring: Sequence[int], start: int, length: int | None, eos: int
    ) -> None:
        self._head = head
        self._head_size = len(head)
        self._ring = ring
        self._start = start - len(head)
        self._eos = eos
        self.length = length

    def token(self, i: int) -> int:
        if self.length is not None and i >= self.length:
            return self._eos
        if i < self._head_size:
            return self._head[i]
        return self._ring[(self._start + i) % len(self._ring)]

    def tokens(self, start: int, stop: int) -> list[int]:
        end = stop if self.length is None else min(stop, self.length)
        ids = list(self._head[start:end]) if start < self._head_size else []
        ring, at = self._ring, start + len(ids)
        while at < end:
            begin = (self._start + at) % len(ring)
            piece = ring[begin : begin + end - at]
            ids += piece
            at += len(piece)
        return ids + [self._eos] * (stop - at) if at < stop else ids


class MaskedPlan:
    """Another plan that says none of `forbidden` before position `until`: min_tokens with stop_token_ids."""

    __slots__ = ("_forbidden", "_plan", "_until")

    def __init__(self, plan: OutputPlan, forbidden: frozenset[int], until: int) -> None:
        self._plan = plan
        self._forbidden = forbidden
        self._until = until

    @property
    def length(self) -> int | None:
        return self._plan.length

    def token(self, i: int) -> int:
        token_id = self._plan.token(i)
        if i < self._until:
            while token_id in self._forbidden:
                token_id += 1
        return token_id

    def tokens(self, start: int, stop: int) -> list[int]:
        masked = min(max(self._until, start), stop)
        return [self.token(i) for i in range(start, masked)] + self._plan.tokens(masked, stop)


class ThoughtPlan:
    """A thought, then another plan, then what closes the answer; EOS is the answer's own."""

    __slots__ = ("_after", "_answer", "_before")

    def __init__(self, before: list[int], answer: OutputPlan, after: list[int]) -> None:
        self._before = before
        self._answer = answer
        self._after = after

    @property
    def length(self) -> int | None:
        answer = self._answer.length
        return None if answer is None else len(self._before) + answer + len(self._after)

    def token(self, i: int) -> int:
        return self.tokens(i, i + 1)[0]

    def tokens(self, start: int, stop: int) -> list[int]:
        first, answer = len(self._before), self._answer.length
        ids = self._before[start:stop]
        begin, end = max(start - first, 0), stop - first
        if answer is None:
            return ids + self._answer.tokens(begin, end) if end > begin else ids
        said = min(end, answer)
        if said > begin:
            ids = ids + self._answer.tokens(begin, said)
        closed = answer + len(self._after)
        if end > answer and begin < closed:
            ids = ids + self._after[max(begin - answer, 0) : end - answer]
        if end > max(begin, closed):
            missing = end - max(begin, closed)
            ids = ids + self._answer.tokens(answer, answer + missing)
        return ids
