"""ScheduledStep: the batch that one `schedule` decided, until its results are in."""

from __future__ import annotations

from simulator.engine.latency import BatchShape
from simulator.engine.request import Request


class ScheduledStep:
    """What one `schedule` decided. `sampling` are the sequences that will give a token, in batch order."""

    __slots__ = (
        "end",
        "index",
        "load_seconds",
        "new",
        "preempted",
        "resumed",
        "sampling",
        "scheduled",
        "shape",
        "start",
    )

    def __init__(self) -> None:
        self.scheduled: dict[Request, int] = {}
        self.sampling: list[Request] = []
        self.new: list[Request] = []
        self.resumed: list[Request] = []
        self.preempted: list[Request] = []
        self.shape = BatchShape()
        self.load_seconds = 0.0  # LoRA loading that this step has to wait for
        self.index = 0
        self.start = 0.0
        self.end = 0.0

    def place(self, request: Request, n: int) -> None:
        """Put `n` tokens of the request into the batch; its counters move before the step runs, as vLLM's do."""
        shape = self.shape
        self.scheduled[request] = n
        computed = request.num_computed_tokens
        request.num_computed_tokens = after = computed + n
        if after < request.num_tokens + request.num_output_placeholders:
            shape.num_prefills += 1
            shape.prefill_tokens += n
            shape.prefill_attention += n * (computed + n / 2)
            return
        self.sampling.append(request)
        if n == 1:
            shape.num_decodes += 1
            shape.decode_kv_tokens += after
        else:
            shape.num_prefills += 1
            shape.prefill_tokens += n
            shape.prefill_attention += n * (computed + n / 2)

    def remove(self, request: Request) -> int:
        """Take a victim out of the batch again; returns its tokens, 0 if it was not in it."""
        n = self.scheduled.pop(request, 0)
        if n:
            kept = [(r, k) for r, k in self.scheduled.items()]
            self.scheduled, self.sampling, self.shape = {}, [], BatchShape()
            for r, k in kept:
                r.num_computed_tokens -= k
                self.place(r, k)
        return n
