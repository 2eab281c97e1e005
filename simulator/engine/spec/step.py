"""SpecStep: a scheduled batch whose sequences may bring draft tokens to be verified."""

from __future__ import annotations

from simulator.engine.pace.latency import BatchShape
from simulator.engine.request import Request
from simulator.engine.step import ScheduledStep


class SpecStep(ScheduledStep):
    """`drafts`: draft tokens among the scheduled ones; of `padded` sequences they are placeholders.

    `extra_tokens`: tokens beyond one a sequence that came of it.
    """

    __slots__ = ("_before", "drafts", "padded")

    def __init__(self, ahead: int = 0) -> None:
        super().__init__(ahead)
        self.drafts: dict[Request, int] = {}
        self.padded: set[Request] = set()
        self._before: dict[Request, tuple[int, int]] = {}  # computed tokens and placeholders

    def pad(self, request: Request) -> None:
        self.padded.add(request)

    def place(self, request: Request, n: int) -> None:
        computed, placeholders = request.num_computed_tokens, request.num_output_placeholders
        self._before[request] = computed, placeholders
        self.scheduled[request] = n
        request.num_computed_tokens = after = computed + n
        missing = request.num_tokens + placeholders
        request.is_prefill_chunk = after < missing
        drafts = min(after - missing, request.num_drafts)
        if drafts > 0:
            self.drafts[request] = drafts
        request.num_drafts = 0
        if after >= missing:
            self.sampling.append(request)
            if self.ahead:
                request.num_output_placeholders = placeholders + 1 + max(drafts, 0)
        self._count(request, computed, n)

    def _count(self, request: Request, computed: int, n: int) -> None:
        shape = self.shape
        drafts = self.drafts.get(request, 0)
        if not request.is_prefill_chunk and n - drafts == 1:
            shape.num_decodes += 1
            shape.draft_tokens += drafts
            shape.decode_kv_tokens += computed + n
        else:
            shape.num_prefills += 1
            shape.prefill_tokens += n
            shape.prefill_attention += n * (computed + n / 2)

    def remove(self, victim: Request) -> int:
        n = self.scheduled.pop(victim, 0)
        if not n:
            return 0
        victim.num_computed_tokens, victim.num_output_placeholders = self._before.pop(victim)
        self.drafts.pop(victim, None)
        self.padded.discard(victim)
        if victim in self.sampling:
            self.sampling.remove(victim)
        self.shape = BatchShape()
        for request, tokens in self.scheduled.items():
            self._count(request, self._before[request][0], tokens)
        return n
