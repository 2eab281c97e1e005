"""Filters and scorers by what a pod is and what the request is like: sessions, lengths, labels, predictions.

Predictions of latency are made by a model in a process of its own, which is not here: without them the
latency scorer goes by its composite of KV cache, queue and prefix, and the filter by headroom keeps all, as
in llm-d-router. A plugin file can set `Candidate.headroom` and have their formulas.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins import scorers
from gateway.picker.plugins.base import Filter, Plugin, PluginContext, Scorer
from gateway.picker.plugins.text.prompts import BYTES_PER_TOKEN, pseudo_tokens
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

SESSIONS = 100_000  # that are remembered


class SessionParameters(msgspec.Struct, rename="camel"):
    header_name: str = ""
    strategy: str = "encoded_endpoint_header"
    encoded_endpoint_header_config: dict[str, Any] = {}
    session_id_config: dict[str, Any] = {}


class _Sessions(Plugin):
    """Which endpoint a session is at: by a token that the client brings back, or by its id."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        given = context.decode(SessionParameters)
        if given.strategy not in ("encoded_endpoint_header", "session_id"):
            raise PickerConfigError(
                f'strategy must be "encoded_endpoint_header" or "session_id", got "{given.strategy}"'
            )
        self._by_id = given.strategy == "session_id"
        named = given.encoded_endpoint_header_config.get("header") or given.header_name
        self._header = str(named or scorers.SESSION_HEADER).lower()
        sources = given.session_id_config.get("sources") or ()
        self._ids = [str(source["header"]).lower() for source in sources if source.get("header")]
        self._ids = self._ids or (["x-session-id"] if not sources else [])
        if self._by_id and not self._ids:
            raise PickerConfigError(
                f"plugin '{self.name}': sessionIdConfig: only sources with a header are read"
            )
        inert = [name for name in ("evictionTtlSeconds",) if given.session_id_config.get(name)]
        context.warn_inert(f"sessionIdConfig.{name}" for name in inert)
        self._places: OrderedDict[str, str] = OrderedDict()

    def _place(self, request: InferenceRequest) -> str:
        """The endpoint of the request's session; empty where there is none."""
        if not self._by_id:
            return scorers.decode_session(request.headers.get(self._header, ""))
        return self._places.get(self._session(request), "")

    def _session(self, request: InferenceRequest) -> str:
        return next((value for name in self._ids if (value := request.headers.get(name))), "")

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        session = self._session(request) if self._by_id else ""
        if session:
            self._places[session] = target.endpoint.id
            self._places.move_to_end(session)
            if len(self._places) > SESSIONS:
                self._places.popitem(last=False)

    def response_headers(
        self,
        request: InferenceRequest | None,
        endpoint: str,
        headers: MutableMapping[str, str],
        metadata: Mapping[str, Any],
    ) -> None:
        if endpoint and not self._by_id:
            headers[self._header] = scorers.encode_session(endpoint)


class SessionAffinity(_Sessions, Scorer):
    """session-affinity-scorer: 1 for the endpoint of the session."""

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        place = self._place(request)
        return [1.0 if candidate.endpoint.id == place else 0.0 for candidate in candidates]


class SessionAffinityFilter(_Sessions, Filter):
    """session-affinity-filter: the endpoint of the session alone, where it is there."""

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        place = self._place(request)
        return [candidate for candidate in candidates if candidate.endpoint.id == place] or candidates


class ContextLengthParameters(msgspec.Struct, rename="camel"):
    label: str = "llm-d.ai/context-length-range"
    enable_filtering: bool = False


class ContextLengthAware(Filter, Scorer):
    """context-length-aware: pods whose label has the range of tokens that the prompt's length is in."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given, self._estimate = context.decode(ContextLengthParameters), context.estimate

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        if not self._given.enable_filtering:
            return candidates
        length = self._length(request)
        return [c for c in candidates if self._allows(c, length)]

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        length = self._length(request)
        return [self._score(candidate, length) for candidate in candidates]

    def _length(self, request: InferenceRequest) -> int:
        return sum(len(prompt) // BYTES_PER_TOKEN for prompt in pseudo_tokens(request, self._estimate))

    def _allows(self, candidate: Candidate, length: int) -> bool:
        label = candidate.endpoint.labels.get(self._given.label)
        bounds = None if label is None else _range_of(label)
        return label is None or (bounds is not None and bounds[0] <= length <= bounds[1])

    def _score(self, candidate: Candidate, length: int) -> float:
        label = candidate.endpoint.labels.get(self._given.label)
        if label is None:
            return 0.5
        bounds = _range_of(label)
        if bounds is None:
            return 0.0
        least, most = bounds
        if not least <= length <= most:
            return 0.3 / (1.0 + max(length - most, least - length) / 1000.0)
        width = most - least
        if not width:
            return 1.0
        return 0.3 + (0.7 / (1.0 + width / 10000.0) + 0.3 * (most - length) / width) * 0.7


def _range_of(label: str) -> tuple[int, int] | None:
    parts = label.split("-")
    try:
        least, most = (int(part) for part in parts)
    except ValueError:
        return None
    return (least, most) if least <= most else None


class HeaderLabelParameters(msgspec.Struct, rename="camel"):
    header_name: str = ""
    label_key: str = ""


class HeaderLabelAffinity(Scorer):
    """header-label-affinity-scorer: 1 for pods whose label has the value of the request's header."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given = context.decode(HeaderLabelParameters)
        if not self._given.header_name or not self._given.label_key:
            raise PickerConfigError(f"plugin '{self.name}': headerName and labelKey must be specified")

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        asked = request.headers.get(self._given.header_name.lower(), "")
        key = self._given.label_key
        return [1.0 if asked and c.endpoint.labels.get(key) == asked else 0.0 for c in candidates]


class Condition(msgspec.Struct, rename="camel"):
    metric: str = ""
    max_value: float | None = None


class UtilizationFilterParameters(msgspec.Struct, rename="camel"):
    conditions: list[Condition] = []
    fallback_on_empty: bool = False
    in_flight_load_producer_name: str = ""


_METRICS: Mapping[str, Callable[[Candidate], float]] = {
    "active-requests": lambda c: c.inflight_requests,
    "running-requests": lambda c: c.metrics.running,
    "waiting-queue": lambda c: c.metrics.waiting,
    "kv-cache-utilization": lambda c: c.metrics.kv_usage,
}


class UtilizationFilter(Filter):
    """utilization-filter: endpoints that are within every bound."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given = context.decode(UtilizationFilterParameters)
        for condition in self._given.conditions:
            if condition.metric not in _METRICS or condition.max_value is None:
                raise PickerConfigError(
                    f"plugin '{self.name}': a condition needs maxValue and a metric of "
                    f"{', '.join(_METRICS)}, not '{condition.metric}'"
                )
        if not self._given.conditions:
            raise PickerConfigError(f"plugin '{self.name}': at least one condition must be specified")

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        bounds = [(_METRICS[c.metric], c.max_value or 0.0) for c in self._given.conditions]
        kept = [c for c in candidates if all(value(c) <= bound for value, bound in bounds)]
        return candidates if not kept and self._given.fallback_on_empty else kept


class PrefixAffinityParameters(msgspec.Struct, rename="camel"):
    affinity_threshold: float = 0.8
    exploration_probability: float = 0.0
    max_ttft_penalty_ms: float = msgspec.field(default=18000.0, name="maxTTFTPenaltyMs")
    ttft_source: str = msgspec.field(default="prefillThroughput", name="ttftSource")
    peak_prefill_throughput: float = 15928.0


class PrefixAffinityFilter(Filter):
    """prefix-cache-affinity-filter: pods that have most of the prompt, unless they are too far behind."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given, self._rng = context.decode(PrefixAffinityParameters), context.rng
        given = self._given
        if given.affinity_threshold > 1 or not 0 <= given.exploration_probability <= 1:
            raise PickerConfigError("affinityThreshold must be <= 1.0, explorationProbability in [0, 1]")
        if given.ttft_source == "latencyPredictor":
            raise PickerConfigError(
                f"plugin '{self.name}': ttftSource latencyPredictor needs predictions, which only the EPP "
                "has; prefillThroughput is built"
            )
        if given.max_ttft_penalty_ms < 0 or given.peak_prefill_throughput <= 0:
            raise PickerConfigError("maxTTFTPenaltyMs must be >= 0 and peakPrefillThroughput > 0")

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        given = self._given
        if len(candidates) <= 1 or given.affinity_threshold <= 0:
            return candidates
        if given.exploration_probability and self._rng.random() < given.exploration_probability:
            return candidates
        sticky = [c for c in candidates if _share(c) >= given.affinity_threshold]
        others = [c for c in candidates if _share(c) < given.affinity_threshold]
        if not sticky:
            return candidates
        if given.max_ttft_penalty_ms > 0 and others:
            behind = min(c.inflight_tokens for c in sticky) - min(c.inflight_tokens for c in others)
            if behind / given.peak_prefill_throughput * 1000 > given.max_ttft_penalty_ms:
                return candidates
        return sticky


def _share(candidate: Candidate) -> float:
    return candidate.prefix_matched / candidate.prefix_total if candidate.prefix_total else 0.0


class LatencyParameters(msgspec.Struct, rename="camel"):
    ttft_weight: float = 0.8
    tpot_weight: float = 0.2
    headroom_selection_strategy: str = "least"
    composite_kv_weight: float = msgspec.field(default=1.0, name="compositeKVWeight")
    composite_queue_weight: float = 1.0
    composite_prefix_weight: float = 1.0


class LatencyScorer(Scorer):
    """latency-scorer: by the headroom that is predicted, else by a composite."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given = context.decode(LatencyParameters)

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        if all(candidate.headroom is None for candidate in candidates):
            return self._composite(candidates)
        bucket = _first_bucket(candidates)
        is_late = any(min(c.headroom or (0.0, 0.0)) < 0 for c in bucket)
        most = self._given.headroom_selection_strategy == "most" and not is_late
        found = dict(zip(map(id, bucket), self._by_headroom(bucket, most), strict=True))
        return [found.get(id(candidate), 0.0) for candidate in candidates]

    def _by_headroom(self, bucket: Sequence[Candidate], most: bool) -> list[float]:
        firsts, rests = zip(*(map(abs, c.headroom or (0.0, 0.0)) for c in bucket), strict=True)
        total = self._given.ttft_weight + self._given.tpot_weight
        alpha, beta = (
            (self._given.ttft_weight / total, self._given.tpot_weight / total) if total > 0 else (1, 0)
        )
        flat = max(firsts) - min(firsts) <= 1e-9, max(rests) - min(rests) <= 1e-9
        if flat[0] != flat[1]:
            alpha, beta = (0.0, 1.0) if flat[0] else (1.0, 0.0)
        pairs = zip(_spread(firsts), _spread(rests), strict=True)
        combined = [alpha * first + beta * rest for first, rest in pairs]
        return [(int((value if most else 1.0 - value) * 100.0) + 1) / 100.0 for value in combined]

    def _composite(self, candidates: Sequence[Candidate]) -> list[float]:
        given = self._given
        weights = [given.composite_kv_weight, given.composite_queue_weight, given.composite_prefix_weight]
        if sum(weights) <= 0:
            weights = [1.0, 0.0, 0.0]
        kv, queue, prefix = (weight / sum(weights) for weight in weights)
        longest = max((c.metrics.waiting for c in candidates), default=0)
        scores = []
        for c in candidates:
            shorter = (longest - c.metrics.waiting) / longest if longest else 1.0
            value = kv * (1.0 - c.metrics.kv_usage) + queue * shorter + prefix * _share(c)
            scores.append(math.floor(100.0 * value + 0.5) / 100.0)
        return scores


def _spread(values: Sequence[float]) -> list[float]:
    least, most = min(values), max(values)
    if most - least <= 1e-9:
        return [0.5] * len(values)
    return [(value - least) / (most - least) for value in values]


def _first_bucket(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those who keep their objectives; else the idle ones; else those who miss the fewest of them."""

    def late(candidate: Candidate) -> tuple[bool, bool]:
        first, rest = candidate.headroom or (0.0, 0.0)
        return first < 0, rest < 0

    kept = [c for c in candidates if c.headroom is None or not any(late(c))]
    idle = [c for c in candidates if not c.inflight_requests]
    by_kind = [[c for c in candidates if late(c) == kind] for kind in ((False, True), (True, False))]
    return next((bucket for bucket in (kept, idle, *by_kind) if bucket), candidates)


class HeadroomTierParameters(msgspec.Struct, rename="camel"):
    epsilon_explore_neg: float = 0.01


class HeadroomTierFilter(Filter):
    """slo-headroom-tier-filter: pods that are predicted to keep the objectives; all without predictions."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given, self._rng = context.decode(HeadroomTierParameters), context.rng

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        good = [c for c in candidates if c.headroom is not None and min(c.headroom) >= 0]
        if len(candidates) <= 1 or all(c.headroom is None for c in candidates):
            return candidates
        others = [c for c in candidates if c not in good]
        if good and others and self._rng.random() < self._given.epsilon_explore_neg:
            return others
        return good or others
