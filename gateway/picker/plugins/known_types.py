"""Plugin types by the release that brought them, and those that only the real EPP has."""

from __future__ import annotations

_SINCE = {
    "gie-v1.3": ("running-requests-size-scorer", "metrics-data-source", "model-server-protocol-metrics"),
    "gie-v1.4": (
        "global-strict-fairness-policy",
        "round-robin-fairness-policy",
        "fcfs-ordering-policy",
        "edf-ordering-policy",
        "concurrency-detector",
    ),
    "gie-v1.5": (
        "approx-prefix-cache-producer",
        "inflight-load-producer",
        "token-load-scorer",
        "core-metrics-extractor",
        "utilization-detector",
        "openai-parser",
        "passthrough-parser",
        "static-usage-limit-policy",
    ),
    "llm-d-v0.10": (
        "active-request-scorer",
        "load-aware-scorer",
        "session-affinity-scorer",
        "no-hit-lru-scorer",
        "by-label",
        "by-label-selector",
        "file-discovery",
        "token-producer",
    ),
}

_ONLY_EPP = (
    "context-length-aware",
    "data-parallel-profile-handler",
    "decode-filter",
    "disagg-profile-handler",
    "encode-filter",
    "endpoint-attribute-scorer",
    "endpoint-notification-source",
    "header-label-affinity-scorer",
    "k8s-notification-source",
    "latency-scorer",
    "latency-slo-admitter",
    "models-data-extractor",
    "models-data-source",
    "multicluster-file-discovery",
    "pd-profile-handler",
    "precise-prefix-cache-producer",
    "precise-prefix-cache-scorer",
    "predicted-latency-scorer",
    "prefill-filter",
    "prefill-header-handler",
    "prefix-cache-affinity-filter",
    "request-attribute-reporter",
    "slo-aware-profile-handler",
    "slo-aware-routing",
    "slo-deadline-ordering-policy",
    "slo-headroom-tier-filter",
    "topology-affinity-scorer",
    "vllmgrpc-parser",
    "vllmhttp-parser",
)


def since(plugin_type: str) -> str | None:
    """The first release of compat.TABLE that has the type; None when it always was there, or is ours."""
    return next((release for release, types in _SINCE.items() if plugin_type in types), None)


def that_only_the_epp_has(plugin_type: str) -> str | None:
    """What to do about a type that exists, but not here."""
    if plugin_type not in _ONLY_EPP:
        return None
    return "the EPP has it, the reference picker has not; run the real one (--epp PATH)"
