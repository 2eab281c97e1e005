"""Which data-parallel rank serves a request where all of them stand behind one port.

Source: vLLM 0.33, `DPLBAsyncMPClient.get_core_engine_for_request`. There the counts of other clients are a
snapshot of up to 100 ms; here they are those of the moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Rank(Protocol):
    """What is asked of a rank."""

    @property
    def load(self) -> tuple[int, int, int, float]:
        """Requests in flight, waiting and running, and the share of its KV cache in use."""


class Balancer:
    """Ties go round: the scan starts one rank further with each request."""

    __slots__ = ("_start",)

    def __init__(self) -> None:
        self._start = 0

    def pick(self, ranks: Sequence[Rank]) -> int:
        """The index of the least loaded; queues count more where the KV cache is nearly full."""
        best, least = 0, float("inf")
        for i in range(len(ranks)):
            index = (self._start + i) % len(ranks)
            in_flight, waiting, running, usage = ranks[index].load
            score = float(max(in_flight, waiting + running))
            if waiting:
                score += waiting * 6.0 * max(0.0, usage - 0.5)
            if score < least:
                best, least = index, score
        self._start = (self._start + 1) % len(ranks)
        return best
