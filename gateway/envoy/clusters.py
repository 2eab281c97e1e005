"""Clusters: one per pool and per Service port that routes or pickers are reached by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.envoy.compat import LATEST, TABLE, Istio
from gateway.manifests.destinationrule import SYSTEM_AUTHORITIES, DestinationRule, tls_file
from gateway.manifests.durations import istio_duration
from gateway.manifests.inference import SHADOW_PORT, InferencePool
from gateway.manifests.inside import inside
from gateway.manifests.references import service_cluster
from gateway.manifests.workloads import Service, ServicePort
from kit.yamldoc import Cursor

Json = dict[str, Any]

PICKED_KEY = "x-gateway-destination-endpoint"
SERVED_KEY = "x-gateway-destination-endpoint-served"
SCORES_KEY = "x-gateway-destination-endpoint-scores"
MAX = 4294967295
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class ClusterSpec:
    """One cluster, and whose endpoints it holds: a pool's pods, or what a Service's port leads to."""

    name: str
    eds_file: Path
    pool: InferencePool | None = None
    service: Service | None = None
    port: ServicePort | None = None

    @property
    def host(self) -> str:
        return self.pool.shadow_host if self.pool else self.service.host if self.service else ""

    @property
    def number(self) -> int:
        return self.port.port if self.port else SHADOW_PORT


def pool_spec(pool: InferencePool, directory: Path) -> ClusterSpec:
    file = inside(directory, f"{pool.shadow_service}.{pool.namespace}.json")
    return ClusterSpec(pool.cluster, file, pool=pool)


def service_spec(service: Service, port: ServicePort, directory: Path) -> ClusterSpec:
    name = service_cluster(service.host, port.port)
    file = inside(directory, f"{service.name}.{service.namespace}.{port.port}.json")
    return ClusterSpec(name, file, service=service, port=port)


def build_cluster(spec: ClusterSpec, rule: DestinationRule | None, istio: Istio = TABLE[LATEST]) -> Json:
    """The cluster of `spec` under the DestinationRule that applies to it."""
    pool = rule.settings("connectionPool", spec.number) if rule else None
    cluster: Json = {
        "name": spec.name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": spec.name,
            "eds_config": {
                "resource_api_version": "V3",
                "initial_fetch_timeout": "5s",
                "path_config_source": {"path": str(spec.eds_file)},
            },
        },
        "connect_timeout": _duration(pool.opt("tcp") if pool else None, "connectTimeout", "10s"),
        "circuit_breakers": {"thresholds": [_thresholds(pool, istio)]},
        # Istio never panics: with no endpoint left that is not ejected a request fails
        "common_lb_config": {"healthy_panic_threshold": {"value": _least_healthy(spec, rule)}},
    }
    options = _protocol_options(_is_http2(spec, pool), pool)
    cluster["typed_extension_protocol_options"] = {_HTTP_OPTIONS: options}
    cluster.update(_load_balancing(spec, rule))
    if tls := _tls(spec, rule):
        cluster["transport_socket"] = tls
        if names := _names_from_host(rule.settings("tls", spec.number) if rule else None):
            options["upstream_http_protocol_options"] = names
    if outliers := _outlier_detection(spec, rule):
        cluster["outlier_detection"] = outliers
    return cluster


def _is_http2(spec: ClusterSpec, pool: Cursor | None) -> bool:
    http = pool.opt("http") if pool else None
    if http is not None and http.text("h2UpgradePolicy", "DEFAULT") == "UPGRADE":
        return True
    if spec.pool is not None:
        return spec.pool.app_protocol == "kubernetes.io/h2c"
    return spec.port is not None and spec.port.is_http2


def _protocol_options(http2: bool, pool: Cursor | None) -> Json:
    http = pool.opt("http") if pool else None
    explicit: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    options: Json = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": explicit,
    }
    common: Json = {}
    if http is not None and (limit := http.number("maxRequestsPerConnection", 0)):
        common["max_requests_per_connection"] = limit
    if http is not None and (idle := istio_duration(http, "idleTimeout")):
        common["idle_timeout"] = idle.envoy
    if common:
        options["common_http_protocol_options"] = common
    return options


def _duration(root: Cursor | None, key: str, default: str) -> str:
    return found.envoy if (found := istio_duration(root, key)) else default


def _thresholds(pool: Cursor | None, istio: Istio) -> Json:
    """Istio lifts Envoy's limits of 1024 to the maximum; only a connectionPool sets any."""
    tcp = pool.opt("tcp") if pool else None
    http = pool.opt("http") if pool else None
    return {
        "max_connections": tcp.number("maxConnections", MAX) if tcp else MAX,
        "max_pending_requests": http.number("http1MaxPendingRequests", MAX) if http else MAX,
        "max_requests": http.number("http2MaxRequests", MAX) if http else MAX,
        "max_retries": http.number("maxRetries", MAX) if http else MAX,
        **({"track_remaining": True} if istio.tracks_remaining else {}),
    }


def _load_balancing(spec: ClusterSpec, rule: DestinationRule | None) -> Json:
    """A pool's endpoints come from the picker's metadata whatever the rule says; it rules Services."""
    if spec.pool is None:
        settings = rule.settings("loadBalancer", spec.number) if rule else None
        simple = settings.text("simple", "UNSPECIFIED") if settings else "UNSPECIFIED"
        return {"lb_policy": {"ROUND_ROBIN": "ROUND_ROBIN", "RANDOM": "RANDOM"}.get(simple, "LEAST_REQUEST")}
    fallback = {
        "name": "envoy.load_balancing_policies.round_robin",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
        },
    }
    override = {
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        "override_host_sources": [{"metadata": {"key": "envoy.lb", "path": [{"key": PICKED_KEY}]}}],
        "selected_host_key": {"key": "envoy.lb", "path": [{"key": SERVED_KEY}]},
        "fallback_policy": {"policies": [{"typed_extension_config": fallback}]},
    }
    policy = {"name": "envoy.load_balancing_policies.override_host", "typed_config": override}
    return {
        "lb_policy": "CLUSTER_PROVIDED",
        "load_balancing_policy": {"policies": [{"typed_extension_config": policy}]},
    }


def _tls(spec: ClusterSpec, rule: DestinationRule | None) -> Json | None:
    settings = rule.settings("tls", spec.number) if rule else None
    mode = settings.text("mode", "DISABLE") if settings else "DISABLE"
    if settings is None or mode in {"DISABLE", "ISTIO_MUTUAL"}:
        return None  # ISTIO_MUTUAL needs a mesh certificate; towards a pod without sidecar Istio falls back
    common: Json = {}
    if _is_http2(spec, rule.settings("connectionPool", spec.number) if rule else None):
        common["alpn_protocols"] = ["h2"]
    if mode == "MUTUAL":
        common["tls_certificates"] = [
            {
                "certificate_chain": {"filename": tls_file(settings, "clientCertificate")},
                "private_key": {"filename": tls_file(settings, "privateKey")},
            }
        ]
    if not settings.flag("insecureSkipVerify", False):
        common["validation_context"] = _validation(settings)
    context: Json = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    if sni := settings.text("sni", ""):
        context["sni"] = sni
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _names_from_host(settings: Cursor | None) -> Json:
    """Without an sni of its own a rule names and checks the server by the request's host."""
    if settings is None or settings.text("sni", ""):
        return {}
    checked = not settings.flag("insecureSkipVerify", False) and not settings.strings("subjectAltNames")
    return {"auto_sni": True, **({"auto_san_validation": True} if checked else {})}


def _validation(settings: Cursor) -> Json:
    """Istio verifies against the system's authorities unless told otherwise."""
    if settings.has("caCertificates"):
        authorities = tls_file(settings, "caCertificates")
    else:
        system = (file for file in SYSTEM_AUTHORITIES if Path(file).exists())
        authorities = next(system, SYSTEM_AUTHORITIES[0])
    validation: Json = {"trusted_ca": {"filename": authorities}}
    if names := settings.strings("subjectAltNames"):
        validation["match_typed_subject_alt_names"] = [
            {"san_type": "DNS", "matcher": {"exact": name}} for name in names
        ]
    return validation


def _outlier_detection(spec: ClusterSpec, rule: DestinationRule | None) -> Json | None:
    settings = rule.settings("outlierDetection", spec.number) if rule else None
    if settings is None:
        return None
    consecutive = settings.number("consecutive5xxErrors", settings.number("consecutiveErrors", 5))
    gateway = settings.number("consecutiveGatewayErrors", 0)
    return {
        "consecutive_5xx": consecutive,
        "enforcing_consecutive_5xx": 100 if consecutive else 0,
        "consecutive_gateway_failure": gateway or 5,
        "enforcing_consecutive_gateway_failure": 100 if gateway else 0,
        "interval": _duration(settings, "interval", "10s"),
        "base_ejection_time": _duration(settings, "baseEjectionTime", "30s"),
        "max_ejection_percent": settings.number("maxEjectionPercent", 10),
        "enforcing_success_rate": 0,
    }


def _least_healthy(spec: ClusterSpec, rule: DestinationRule | None) -> int:
    """Percent of endpoints below which ejected ones are used again."""
    settings = rule.settings("outlierDetection", spec.number) if rule else None
    return settings.number("minHealthPercent", 0) if settings else 0
