"""The plugin types the reference picker knows: one line each in BUILTIN.

Functions live in scorers.py, filters.py, pickers.py and saturation.py; here they get a name, parameters and,
where they remember something, a class around them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from gateway.picker.config import duration_of
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins import affinities, filters, pickers, profiles, saturation, scorers
from gateway.picker.plugins.base import (
    Detector,
    Factory,
    Filter,
    Picker,
    Plugin,
    PluginContext,
    ProfileHandler,
    Registry,
    Scorer,
    Settings,
    scorer,
)
from gateway.picker.plugins.load_plugins import TokenLoad, inflight_load_producer
from gateway.picker.plugins.precise import PreciseProducer, PreciseScorer
from gateway.picker.plugins.prefix_plugins import PrefixProducer, prefix_scorer
from gateway.picker.pool import labels
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

SERVED_KEY = "x-gateway-destination-endpoint-served"
SERVED_HEADER = "x-conformance-test-served-endpoint"


class NoHitLruParameters(msgspec.Struct, rename="camel"):
    lru_size: int = 1024
    prefix_plugin_type: str = ""
    prefix_plugin_name: str = ""
    prefix_match_info_producer_name: str = ""


class NoHitLru(Scorer):
    """Remembers which endpoints got cold requests, oldest first."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        size = context.decode(NoHitLruParameters).lru_size
        self._size = size if size > 0 else 1024
        self._order: OrderedDict[str, None] = OrderedDict()

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        cold = not any(candidate.prefix_matched for candidate in candidates)
        request.state[f"cold:{self.name}"] = cold
        return scorers.no_hit_lru(self._order, candidates)

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        if request.state.pop(f"cold:{self.name}", False):
            self._order[target.endpoint.id] = None
            self._order.move_to_end(target.endpoint.id)
            if len(self._order) > self._size:
                self._order.popitem(last=False)


class HeaderBasedTestingFilter(Filter):
    """Conformance: the client says where it wants to go."""

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return filters.header_based_testing(request.headers, candidates)


class ByLabel(Filter):
    """Endpoints by the value of one label."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = context.decode(filters.ByLabelParameters)
        if not self._parameters.label:
            raise PickerConfigError(
                f"plugin '{self.name}' (type {self.type_name}): 'label' must be specified"
            )

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return filters.by_label(candidates, self._parameters)


class ByRole(Filter):
    """decode-, prefill- and encode-filter: endpoints by the role of their pods."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = filters.ROLES[self.type_name]

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return filters.by_label(candidates, self._parameters)


class ByLabelSelector(Filter):
    """Endpoints by a Kubernetes label selector."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._selector = context.decode(labels.LabelSelector)
        labels.check_selector(self._selector, f"plugin '{self.name}'")

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return [c for c in candidates if labels.selects(self._selector, c.endpoint.labels)]


class PickerParameters(msgspec.Struct, rename="camel"):
    """Of every picker; a count below 1 means 1."""

    max_num_of_endpoints: int = 1

    @property
    def count(self) -> int:
        return self.max_num_of_endpoints if self.max_num_of_endpoints > 0 else 1


class FunctionPicker(Picker):
    """A function over totals."""

    def __init__(self, context: PluginContext, function: Callable[..., list[int]]) -> None:
        super().__init__(context)
        self._function = function
        self._count = context.decode(PickerParameters).count
        self._rng = context.rng

    def pick(self, candidates: Sequence[Candidate], totals: Sequence[float]) -> list[Candidate]:
        return [candidates[index] for index in self._function(totals, self._count, self._rng)]


class RoundRobinPicker(Picker):
    """The next endpoint in turn, by id: the order stays when endpoints come and go."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._count = context.decode(PickerParameters).count
        self._last = ""

    def pick(self, candidates: Sequence[Candidate], totals: Sequence[float]) -> list[Candidate]:
        ordered = sorted(candidates, key=lambda candidate: candidate.endpoint.id)
        start = next((i for i, c in enumerate(ordered) if c.endpoint.id > self._last), 0)
        picked = [ordered[(start + i) % len(ordered)] for i in range(min(self._count, len(ordered)))]
        self._last = picked[0].endpoint.id
        return picked


class LeastRequestParameters(PickerParameters):
    choice_count: int = 0


class LeastRequestPicker(Picker):
    """The fewest requests in flight by the picker's own count, scores or not."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = context.decode(LeastRequestParameters)
        self._rng = context.rng

    def pick(self, candidates: Sequence[Candidate], totals: Sequence[float]) -> list[Candidate]:
        inflight = [candidate.inflight_requests for candidate in candidates]
        parameters = self._parameters
        order = pickers.least_request(inflight, parameters.count, parameters.choice_count, self._rng)
        return [candidates[index] for index in order]


class UtilizationParameters(msgspec.Struct):
    queue_depth: int = msgspec.field(default=5, name="queueDepthThreshold")
    kv_cache: float = msgspec.field(default=0.8, name="kvCacheUtilThreshold")
    staleness: str = msgspec.field(default="200ms", name="metricsStalenessThreshold")
    headroom: float = 0.0


class UtilizationDetector(Detector, Filter):
    """Queue and KV cache against limits, as the release adds them up."""

    def __init__(self, context: PluginContext, limits: saturation.UtilizationLimits | None = None) -> None:
        super().__init__(context)
        self.limits = limits or _utilization_limits(context)
        mean = context.compat.mean_saturation
        self._function = saturation.mean_utilization if mean else saturation.any_has_room

    def saturation(self, candidates: Sequence[Candidate], now: float) -> float:
        return self._function(candidates, self.limits, now)

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return saturation.within_utilization(candidates, self.limits, time.monotonic())


def _utilization_limits(context: PluginContext) -> saturation.UtilizationLimits:
    given = context.decode(UtilizationParameters)
    staleness = duration_of(given.staleness, f"plugin '{context.name}'.metricsStalenessThreshold")
    if given.queue_depth <= 0 or not 0.0 < given.kv_cache <= 1.0 or staleness <= 0 or given.headroom < 0:
        raise PickerConfigError(
            f"invalid utilization detector configuration of plugin '{context.name}': queueDepthThreshold and "
            "metricsStalenessThreshold must be strictly positive, kvCacheUtilThreshold in (0.0, 1.0], "
            "headroom not negative"
        )
    return saturation.UtilizationLimits(given.queue_depth, given.kv_cache, staleness, given.headroom)


class ConcurrencyDetector(Detector, Filter):
    """The picker's own requests in flight against a limit."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = context.decode(saturation.ConcurrencyParameters)
        self._parameters.check(self.name)

        self._blind = context.hears_of_no_load()

    def saturation(self, candidates: Sequence[Candidate], now: float) -> float:
        return 0.0 if self._blind and candidates else saturation.concurrency(candidates, self._parameters)

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        return candidates if self._blind else saturation.within_concurrency(candidates, self._parameters)


class ServedVerifier(Plugin):
    """Conformance: tells the client which endpoint the data plane says it used."""

    def response_headers(
        self,
        request: InferenceRequest | None,
        endpoint: str,
        headers: MutableMapping[str, str],
        metadata: Mapping[str, Any],
    ) -> None:
        lb = metadata.get("envoy.lb")
        if not isinstance(lb, Mapping):
            headers[SERVED_HEADER] = "fail: missing envoy lb metadata"
            return
        served = lb.get(SERVED_KEY)
        missing = "fail: missing destination endpoint served metadata"
        headers[SERVED_HEADER] = served if isinstance(served, str) else missing


def picker(function: Callable[..., list[int]]) -> Factory:
    return lambda context: FunctionPicker(context, function)


def token_producer(context: PluginContext) -> Plugin:
    """token-producer and tokenizer: what they estimate is done; real tokens are the endpoints' own."""
    given = context.parameters or {}
    asked = [name for name in ("vllm", "udsTokenizerConfig") if given.get(name)]
    if asked:
        context.warn(
            f"plugin '{context.name}' (type {context.type_name}): {asked[0]} is not asked for tokens: the "
            "endpoints are, whose tokenizer is the same (/v1/completions/render, else /tokenize)"
        )
    return Settings(context, given)


def inert(context: PluginContext) -> Plugin:
    """A plugin of the data layer whose data nobody here reads; the picker says so."""
    context.warn(
        f"plugin '{context.name}' (type {context.type_name}) has no effect in the reference picker, only in "
        "the EPP"
    )
    return Settings(context, context.parameters or {})


def settings(context: PluginContext) -> Plugin:
    return Settings(context, context.parameters or {})


BUILTIN: Registry = {
    "queue-scorer": scorer(scorers.queue),
    "running-requests-size-scorer": scorer(scorers.running_requests),
    "kv-cache-utilization-scorer": scorer(scorers.kv_cache_utilization),
    "lora-affinity-scorer": scorer(scorers.lora_affinity),
    "prefix-cache-scorer": prefix_scorer,
    "active-request-scorer": scorer(scorers.active_request, scorers.ActiveRequestParameters),
    "load-aware-scorer": scorer(scorers.load_aware, scorers.LoadAwareParameters),
    "token-load-scorer": TokenLoad,
    "session-affinity-scorer": affinities.SessionAffinity,
    "session-affinity-filter": affinities.SessionAffinityFilter,
    "context-length-aware": affinities.ContextLengthAware,
    "header-label-affinity-scorer": affinities.HeaderLabelAffinity,
    "utilization-filter": affinities.UtilizationFilter,
    "prefix-cache-affinity-filter": affinities.PrefixAffinityFilter,
    "latency-scorer": affinities.LatencyScorer,
    "slo-headroom-tier-filter": affinities.HeadroomTierFilter,
    "no-hit-lru-scorer": NoHitLru,
    "header-based-testing-filter": HeaderBasedTestingFilter,
    "by-label": ByLabel,
    "by-label-selector": ByLabelSelector,
    "label-selector-filter": ByLabelSelector,
    "decode-filter": ByRole,
    "prefill-filter": ByRole,
    "encode-filter": ByRole,
    "max-score-picker": picker(pickers.max_score),
    "random-picker": picker(pickers.uniform),
    "weighted-random-picker": picker(pickers.weighted_random),
    "round-robin-picker": RoundRobinPicker,
    "least-request-picker": LeastRequestPicker,
    "single-profile-handler": ProfileHandler,
    "header-profile-handler": profiles.HeaderProfileHandler,
    "data-parallel-profile-handler": profiles.DataParallelProfileHandler,
    "disagg-profile-handler": profiles.DisaggProfileHandler,
    "pd-profile-handler": profiles.DisaggProfileHandler,
    "disagg-headers-handler": profiles.DisaggHeadersHandler,
    "prefill-header-handler": profiles.DisaggHeadersHandler,
    "always-disagg-pd-decider": profiles.AlwaysDecider,
    "always-disagg-multimodal-decider": profiles.MultimodalDecider,
    "prefix-based-pd-decider": profiles.PrefixDecider,
    "utilization-detector": UtilizationDetector,
    "concurrency-detector": ConcurrencyDetector,
    "approx-prefix-cache-producer": PrefixProducer,
    "inflight-load-producer": inflight_load_producer,
    "precise-prefix-cache-producer": PreciseProducer,
    "precise-prefix-cache-scorer": PreciseScorer,
    "destination-endpoint-served-verifier": ServedVerifier,
    # Parameters for other parts of the picker.
    "token-producer": token_producer,
    "tokenizer": token_producer,
    "file-discovery": settings,
    "metrics-data-source": settings,
    "core-metrics-extractor": settings,
    "model-server-protocol-metrics": settings,
    "openai-parser": settings,
    "anthropic-parser": settings,
    "vllmhttp-parser": settings,
    "passthrough-parser": settings,
    # What these watch or report, nothing here reads.
    "models-data-source": inert,
    "models-data-extractor": inert,
    "k8s-notification-source": inert,
    "endpoint-notification-source": inert,
    "request-attribute-reporter": inert,
    "fcfs-ordering-policy": settings,
    "slo-deadline-ordering-policy": settings,
    "edf-ordering-policy": settings,
    "global-strict-fairness-policy": settings,
    "round-robin-fairness-policy": settings,
    "static-usage-limit-policy": settings,
}
