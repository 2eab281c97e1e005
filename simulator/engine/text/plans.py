"""What one sequence says: the OutputPlan Protocol, and the plans there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


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
