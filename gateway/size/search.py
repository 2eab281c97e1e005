"""The search: the least number of replicas that keeps every limit, by bisection.

More replicas keep limits that fewer keep, so the least number lies between one that fails and one that holds.
The search begins at what the bottleneck needs (the time that one replica would take over all tokens, computed
in the largest batches), doubles until a number holds, and halves the gap. The answer's neighbour below has
then been tried and fails, unless the answer is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.size.wanted import Kind
from simulator.engine.pace.latency import BatchShape, StepModel
from simulator.engine.pace.profiles import PROFILES

Try = Callable[[int], dict[str, Any]]  # replicas -> the figures of a simulation with them


@dataclass(slots=True)
class Found:
    """What the search of one kind found: every number tried with its figures, and the answer (None: none)."""

    kind: Kind
    tried: dict[int, dict[str, Any]] = field(default_factory=dict)
    answer: int | None = None
    bottleneck: int = 1


def holds(figures: dict[str, Any]) -> bool:
    """Whether every limit is kept."""
    return all(each["ok"] for each in figures["slo"].values())


def search(kind: Kind, attempt: Try, most: int, begin: int) -> Found:
    """The least number up to `most` that holds, looked for from `begin` on."""
    found = Found(kind, bottleneck=begin)

    def good(count: int) -> bool:
        if count not in found.tried:
            found.tried[count] = attempt(count)
        return holds(found.tried[count])

    low, high = 0, min(max(begin, 1), most)
    while not good(high):
        low = high
        if high == most:
            return found
        high = min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if good(middle):
            high = middle
        else:
            low = middle
    found.answer = high
    return found


def bottleneck(profile: str, prompt_tokens: int, output_tokens: int, seconds: float) -> int:
    """Replicas below which not even the largest batches get through `seconds` of load in time.

    Prompts at the profile's largest step, answers at its largest batch, whose sequences hold the KV cache
    full.
    """
    known = PROFILES[profile]
    model = StepModel(known.coefficients, known.host)
    chunk, batch = known.gpu.max_num_batched_tokens, known.gpu.max_num_seqs
    prefill = model.step_seconds(BatchShape(prefill_tokens=chunk, num_prefills=1)) / chunk
    decode = model.step_seconds(BatchShape(num_decodes=batch, decode_kv_tokens=0)) / batch
    work = prompt_tokens * prefill + output_tokens * decode
    return max(1, math.ceil(work / max(seconds, 1e-9)))
