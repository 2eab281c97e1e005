"""How long work takes: the LatencyModel Protocol and its three implementations.

Durations are seconds (float); nothing here reads a clock. Randomness comes from a generator that the model
owns, so the same calls with the same seed give the same durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from simulator.engine.request import LoRARequest, Request


@dataclass(slots=True)
class BatchShape:
    """What one engine step computes: the variables of the step model."""

    prefill_tokens: int = 0  # sum of prefill chunks
    num_prefills: int = 0
    prefill_attention: float = 0.0  # sum over prefill chunks of chunk * (prior_context + chunk / 2)
    num_decodes: int = 0
    decode_kv_tokens: int = 0  # sum of the contexts of the decoding sequences

    @property
    def num_sequences(self) -> int:
        return self.num_prefills + self.num_decodes


class LatencyModel(Protocol):
    """Durations of steps (lockstep) or of single sequences (not lockstep).

    `lockstep` True: one duration per step for the whole batch; only `step_seconds` is asked. False: each
    sequence has a timeline of its own; only `sequence_seconds` is asked. `factor` multiplies every
    duration and may be changed while running (1.0 as made).
    """

    lockstep: bool
    factor: float

    def step_seconds(self, batch: BatchShape) -> float: ...

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        """(a, b) with step_seconds == a + b * decode_kv_tokens, bit for bit, for a batch of decodes only.

        None where steps of decodes are no such line (jitter, own timelines).
        Ask again after `factor` changed.
        """

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_last_prefill_chunk: bool,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        """Seconds until this sequence's scheduled work is done; `num_running` counts it too."""

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        """Seconds to pull the KV cache of `num_tokens` tokens from a prefill server."""

    def lora_load_seconds(self, lora: LoRARequest) -> float: ...
