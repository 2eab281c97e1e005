"""How full the pool is: the EPP's saturation detectors as pure functions; 1.0 and more means saturated."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.pool.endpoints import Candidate, EndpointMetrics


class UtilizationLimits(msgspec.Struct, frozen=True):
    """Of the utilization detector, seconds and fractions."""

    queue_depth: int = 5
    kv_cache: float = 0.8
    staleness: float = 0.2
    headroom: float = 0.0


def any_has_room(candidates: Sequence[Candidate], limits: UtilizationLimits, now: float) -> float:
    """GIE up to v1.3: 0 when any endpoint is fresh and within both limits, else 1."""
    return 0.0 if any(_has_room(candidate.metrics, limits, now) for candidate in candidates) else 1.0


def mean_utilization(candidates: Sequence[Candidate], limits: UtilizationLimits, now: float) -> float:
    """GIE v1.4 on: the mean over endpoints of max(queue/limit, kv/limit); a stale endpoint counts as full."""
    if not candidates:
        return 1.0
    total = 0.0
    for candidate in candidates:
        metrics = candidate.metrics
        if metrics.age(now) > limits.staleness:
            total += 1.0
        else:
            total += max(metrics.waiting / limits.queue_depth, metrics.kv_usage / limits.kv_cache)
    return total / len(candidates)


def within_utilization(candidates: list[Candidate], limits: UtilizationLimits, now: float) -> list[Candidate]:
    """The detector as a filter: fresh endpoints below the limits with headroom; all when there is none."""
    queue = limits.queue_depth * (1.0 + limits.headroom)
    kv = limits.kv_cache * (1.0 + limits.headroom)
    kept = [
        candidate
        for candidate in candidates
        if candidate.metrics.age(now) <= limits.staleness
        and candidate.metrics.waiting < queue
        and candidate.metrics.kv_usage < kv
    ]
    return kept or candidates


class ConcurrencyParameters(msgspec.Struct, rename="camel"):
    max_concurrency: int = 100
    max_token_concurrency: int = 1_000_000
    concurrency_mode: str = "requests"
    headroom: float = 0.0
    in_flight_load_producer_name: str = ""

    def check(self, name: str) -> None:
        """PickerConfigError for values the EPP refuses."""
        if self.max_concurrency <= 0 or self.max_token_concurrency <= 0 or self.headroom < 0:
            raise PickerConfigError(
                f"plugin '{name}': maxConcurrency and maxTokenConcurrency must be strictly positive, "
                "headroom must not be negative"
            )
        if self.concurrency_mode not in ("requests", "tokens", "hybrid"):
            raise PickerConfigError(
                f"plugin '{name}': concurrencyMode {self.concurrency_mode!r} is not one of "
                "requests, tokens, hybrid"
            )


def concurrency(candidates: Sequence[Candidate], parameters: ConcurrencyParameters) -> float:
    """What the picker has in flight over what the pool may have; hybrid takes the fuller of the two."""
    if not candidates:
        return 1.0
    requests = sum(c.inflight_requests for c in candidates) / (parameters.max_concurrency * len(candidates))
    tokens = sum(c.inflight_tokens for c in candidates) / (parameters.max_token_concurrency * len(candidates))
    return {"requests": requests, "tokens": tokens, "hybrid": max(requests, tokens)}[
        parameters.concurrency_mode
    ]


def within_concurrency(candidates: Sequence[Candidate], parameters: ConcurrencyParameters) -> list[Candidate]:
    """The detector as a filter: endpoints below their limit with headroom, possibly none."""
    requests = int(parameters.max_concurrency * (1.0 + parameters.headroom))
    tokens = int(parameters.max_token_concurrency * (1.0 + parameters.headroom))
    by_requests = parameters.concurrency_mode != "tokens"
    by_tokens = parameters.concurrency_mode != "requests"
    return [
        candidate
        for candidate in candidates
        if (not by_requests or candidate.inflight_requests < requests)
        and (not by_tokens or candidate.inflight_tokens < tokens)
    ]


def _has_room(metrics: EndpointMetrics, limits: UtilizationLimits, now: float) -> bool:
    return (
        metrics.age(now) <= limits.staleness
        and metrics.waiting <= limits.queue_depth
        and metrics.kv_usage <= limits.kv_cache
    )
