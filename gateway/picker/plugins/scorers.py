"""The EPP's scorers as pure functions: (request, candidates, parameters) -> one score per candidate.

The scheduler clamps scores to [0, 1] and multiplies them by the profile's weight. A scorer is a function here
and a line in builtin.py; a file given with --plugin has the same form (examples/my_scorer.py).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

import msgspec

from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

SESSION_HEADER = "x-session-token"


class NoParameters(msgspec.Struct):
    """Of a plugin that takes none."""


def queue(_: InferenceRequest, candidates: Sequence[Candidate], __: NoParameters) -> list[float]:
    """The shorter the waiting queue the better, relative to this set; 1 for all when all are equal."""
    return _less_is_better([candidate.metrics.waiting for candidate in candidates])


def running_requests(_: InferenceRequest, candidates: Sequence[Candidate], __: NoParameters) -> list[float]:
    """The same for the number of running requests."""
    return _less_is_better([candidate.metrics.running for candidate in candidates])


def kv_cache_utilization(
    _: InferenceRequest, candidates: Sequence[Candidate], __: NoParameters
) -> list[float]:
    """The share of KV cache that is free."""
    return [1.0 - candidate.metrics.kv_usage for candidate in candidates]


def lora_affinity(request: InferenceRequest, candidates: Sequence[Candidate], _: NoParameters) -> list[float]:
    """1 where the adapter is loaded, 0.8 where a slot is free, 0.6 where it waits to be loaded, else 0."""
    return [_lora_score(candidate, request.target_model) for candidate in candidates]


def _lora_score(candidate: Candidate, adapter: str) -> float:
    metrics = candidate.metrics
    if adapter in metrics.active_models:
        return 1.0
    if len(metrics.active_models) + len(metrics.waiting_models) < metrics.max_active_models:
        return 0.8
    return 0.6 if adapter in metrics.waiting_models else 0.0


class ActiveRequestParameters(msgspec.Struct, rename="camel"):
    idle_threshold: int = 0
    max_busy_score: float = 1.0
    request_timeout: str = ""
    in_flight_load_producer_name: str = ""


def active_request(
    _: InferenceRequest, candidates: Sequence[Candidate], parameters: ActiveRequestParameters
) -> list[float]:
    """1 for idle endpoints; the others by how far they are from the busiest (picker's own counts)."""
    idle = max(parameters.idle_threshold, 0)
    ceiling = parameters.max_busy_score if 0.0 <= parameters.max_busy_score <= 1.0 else 1.0
    counts = [candidate.inflight_requests for candidate in candidates]
    most = max(counts, default=0)
    return [1.0 if count <= idle else (most - count) / most * ceiling for count in counts]


class LoadAwareParameters(msgspec.Struct):
    threshold: int = 128


def load_aware(
    _: InferenceRequest, candidates: Sequence[Candidate], parameters: LoadAwareParameters
) -> list[float]:
    """0.5 for an empty queue, falling to 0 at `threshold` waiting requests."""
    threshold = float(parameters.threshold if parameters.threshold > 0 else 128)
    return [0.5 * (1.0 - min(candidate.metrics.waiting, threshold) / threshold) for candidate in candidates]


class TokenLoadParameters(msgspec.Struct, rename="camel"):
    queue_threshold_tokens: int = 4194304
    in_flight_load_producer_name: str = ""


def token_load(
    _: InferenceRequest, candidates: Sequence[Candidate], parameters: TokenLoadParameters
) -> list[float]:
    """1 with no tokens in flight or of its own, falling to 0 at the threshold (picker's own estimate)."""
    threshold = parameters.queue_threshold_tokens if parameters.queue_threshold_tokens > 0 else 4194304
    return [1.0 - min(max(c.inflight_tokens + c.own_tokens, 0), threshold) / threshold for c in candidates]


class PrefixScoreParameters(msgspec.Struct, rename="camel"):
    match_length_weight: float = 0.0
    match_length_scale_tokens: int = 8192
    prefix_match_info_producer_name: str = ""


def prefix_cache(
    _: InferenceRequest, candidates: Sequence[Candidate], parameters: PrefixScoreParameters
) -> list[float]:
    """The share of the prompt's blocks that went there before; llm-d can add the absolute length."""
    weight = parameters.match_length_weight
    if not weight:
        return [c.prefix_matched / c.prefix_total if c.prefix_total else 0.0 for c in candidates]
    scores = []
    for candidate in candidates:
        if not candidate.prefix_total:
            scores.append(0.0)
            continue
        tokens = candidate.prefix_matched * candidate.prefix_block_tokens
        length = min(1.0, tokens / parameters.match_length_scale_tokens)
        share = candidate.prefix_matched / candidate.prefix_total
        scores.append(weight * length * length + (1.0 - weight) * share)
    return scores


def decode_session(token: str) -> str:
    """The endpoint id in a session token; empty when there is none or it is broken."""
    try:
        return base64.b64decode(token, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def encode_session(endpoint: str) -> str:
    return base64.b64encode(endpoint.encode()).decode()


def no_hit_lru(order: Iterable[str], candidates: Sequence[Candidate]) -> list[float]:
    """0.5 for all when any has a prefix hit; else the endpoint longest without a cold request is best.

    `order` is the ids of endpoints that got cold requests, oldest first; those never used come before them.
    """
    if any(candidate.prefix_matched > 0 for candidate in candidates):
        return [0.5] * len(candidates)
    if len(candidates) == 1:
        return [1.0]
    positions = {endpoint: position for position, endpoint in enumerate(order)}
    unused = sum(candidate.endpoint.id not in positions for candidate in candidates)
    scores, fresh = [], 0
    for candidate in candidates:
        position = positions.get(candidate.endpoint.id)
        if position is None:
            rank, fresh = fresh, fresh + 1
        else:
            rank = unused + position
        scores.append(max(1.0 - rank / (len(candidates) - 1), 0.0))
    return scores


def _less_is_better(values: Sequence[int]) -> list[float]:
    least, most = min(values, default=0), max(values, default=0)
    if least == most:
        return [1.0] * len(values)
    return [(most - value) / (most - least) for value in values]
