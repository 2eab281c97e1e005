"""ScheduledStep: the batch that one `schedule` decided, until its results are in."""

from __future__ import annotations

from simulator.engine.pace.latency import BatchShape
from simulator.engine.request import Request


class ScheduledStep:
    """What one `schedule` decided. `sampling` are the sequences that will give a token, in batch order."""

    __slots__ = (
        "ahead",
        "end",
        "extra_tokens",
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

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead  # placeholders that a token adds: 1 with async scheduling
        self.scheduled: dict[Request, int] = {}
        self.sampling: list[Request] = []
        self.new: list[Request] = []
        self.resumed: list[Request] = []
        self.preempted: list[Request] = []
        self.shape = BatchShape()
        self.extra_tokens = 0  # beyond one for each sequence that got any
        self.load_seconds = 0.0  # LoRA loading that this step has to wait for
        self.index = 0
        self.start = 0.0
        self.end = 0.0

    def pad(self, request: Request) -> None:
        """Note that the drafts of a sequence are placeholders, of which none is accepted.

        Raises NotImplementedError in steps that do not speculate: nothing is ever padded there.
        """
        raise NotImplementedError("only steps that speculate have drafts")

    def place(self, request: Request, n: int) -> None:
        """Put `n` tokens of the request into the batch; its counters move before the step has run."""
        shape = self.shape
        self.scheduled[request] = n
        computed = request.num_computed_tokens
        request.num_computed_tokens = after = computed + n
        gives_token = after >= request.num_tokens + request.num_output_placeholders
        if gives_token:
            self.sampling.append(request)
            request.num_output_placeholders += self.ahead
        if gives_token and n == 1:
            shape.num_decodes += 1
            shape.decode_kv_tokens += after
        else:
            shape.num_prefills += 1
            shape.prefill_tokens += n
            shape.prefill_attention += n * (computed + n / 2)

    def remove(self, victim: Request) -> int:
        """Take a victim out of the batch again; returns its tokens, 0 if it was not in it."""
        if victim not in self.scheduled:
            return 0
        for request in self.sampling:
            request.num_output_placeholders -= self.ahead
        placed, self.scheduled, self.sampling, self.shape = self.scheduled, {}, [], BatchShape()
        for request, n in placed.items():
            request.num_computed_tokens -= n
            if request is not victim:
                self.place(request, n)
        return placed[victim]
