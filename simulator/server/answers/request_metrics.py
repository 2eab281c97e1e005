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


_NO_TIMES = dict.fromkeys(
    (
        "time_to_first_token_ms",
        "generation_time_ms",
        "queue_time_ms",
        "mean_itl_ms",
        "tokens_per_second",
    )
)


def request_metrics(config: ServeConfig, choices: Sequence[Choice]) -> dict[str, Any] | None:
    """Times and acceptance of an answer's one sequence; None: not asked for, or there are several."""
    if len(choices) != 1:
        return None
    times, drafts = _times(config, choices), _drafts(config, choices[0].request)
    if times is None and drafts is None:
        return None
    return {**(times or _NO_TIMES), "speculative_decoding": drafts}


def _drafts(config: ServeConfig, request: Request) -> dict[str, Any] | None:
    """How its drafts fared (--per-request-spec-decode-metrics)."""
    steps, spec = request.spec_steps, config.engine.spec
    if steps is None or spec is None:
        return None
    histogram = [0] * (spec.num_tokens + 1)
    for _drafted, accepted in steps:
        histogram[accepted] += 1
    drafted, accepted = sum(pair[0] for pair in steps), sum(pair[1] for pair in steps)
    detailed = config.per_request_spec_decode_metrics == "detailed" and bool(steps)
    return {
        "mean_acceptance_length": 1.0 + accepted / len(steps) if steps else 1.0,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "acceptance_histogram": histogram,
        "num_spec_steps": len(steps),
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_tokens": spec.num_tokens,
        "per_step_accepted": [pair[1] for pair in steps] if detailed else None,
        "per_step_drafted": [pair[0] for pair in steps] if detailed else None,
    }


def _times(config: ServeConfig, choices: Sequence[Choice]) -> dict[str, Any] | None:
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
    }
