"""What single answers tell about themselves: cached tokens, and the times of --enable-per-request-metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from simulator.config.serve import ServeConfig
from simulator.engine.request import Request


class Choice(Protocol):
    """A sequence as far as its metrics go."""

    request: Request
    num_tokens: int


def cache_details(cached: int, alone: bool) -> dict[str, Any]:
    """`prompt_tokens_details`; `alone`: as older servers, nothing besides."""
    if alone:
        return {"cached_tokens": cached}
    return {"cached_tokens": cached, "created_cache_tokens": None, "multimodal_tokens": None}


def request_metrics(config: ServeConfig, choices: Sequence[Choice]) -> dict[str, Any] | None:
    """The first sequence's times in milliseconds; None: not asked for, or nothing was computed."""
    if not config.enable_per_request_metrics:
        return None
    request = choices[0].request
    first, last = request.first_token_time, request.last_token_time
    scheduled = request.scheduled_time
    if first is None or last is None or scheduled is None:
        return None
    generated = choices[0].num_tokens
    total = last - request.arrival_time
    generation = last - first
    return {
        "time_to_first_token_ms": (first - request.arrival_time) * 1e3,
        "generation_time_ms": generation * 1e3,
        "queue_time_ms": (scheduled - request.queued_time) * 1e3,
        "mean_itl_ms": generation / (generated - 1) * 1e3 if generated > 1 else None,
        "tokens_per_second": generated / total if total > 0 else None,
        "speculative_decoding": None,
    }
