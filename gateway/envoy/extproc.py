"""The ext_proc filter: idle for the listener, switched on by the routes of pools."""

from __future__ import annotations

from typing import Any

from gateway.manifests.inference import InferencePool
from gateway.manifests.references import service_cluster

Json = dict[str, Any]

FILTER = "envoy.filters.http.ext_proc"
_TYPES = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3"


def listener_filter() -> Json:
    """The filter as it stands in the listener: it sends nothing until a route overrides it."""
    return {
        "name": FILTER,
        "typed_config": {
            "@type": f"{_TYPES}.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "dummy"}, "timeout": "10s"},
            "failure_mode_allow": True,
            "processing_mode": {"request_header_mode": "SKIP", "response_header_mode": "SKIP"},
            "message_timeout": "1000s",
            "metadata_options": {
                "forwarding_namespaces": {"untyped": ["envoy.lb"]},
                "receiving_namespaces": {"untyped": ["envoy.lb"]},
            },
        },
    }


def picker_cluster(pool: InferencePool) -> str | None:
    """Name of the cluster of the pool's picker, whether such a Service exists or not."""
    if pool.picker is None:
        return None
    host = f"{pool.picker.name}.{pool.namespace}.svc.cluster.local"
    return service_cluster(host, pool.picker.port or 0)


def route_override(pool: InferencePool) -> Json:
    """`typed_per_filter_config` of what leads to this pool: its picker sees all of request and response."""
    mode = {
        "request_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_header_mode": "SEND",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "response_trailer_mode": "SEND",
    }
    overrides = {
        "failure_mode_allow": pool.picker is not None and pool.picker.failure_mode == "FailOpen",
        "grpc_service": {"envoy_grpc": {"cluster_name": picker_cluster(pool)}},
        "processing_mode": mode,
    }
    return {FILTER: {"@type": f"{_TYPES}.ExtProcPerRoute", "overrides": overrides}}
