"""Listeners of one gateway: one per port, HTTP or HTTPS, with Istio's HTTP connection manager."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.envoy import extproc, rbac
from gateway.envoy.clusters import PICKED_KEY, SCORES_KEY, SERVED_KEY
from gateway.envoy.tracing import Collector
from gateway.manifests.gatewayapi import GATEWAY_GROUP, Gateway, Listener
from gateway.manifests.load import Manifests
from gateway.manifests.references import is_granted
from kit.errors import DocumentError

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"
MANAGER = f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_METADATA = "%DYNAMIC_METADATA(envoy.lb:{})%"
# What one line of the access log says: which pod was picked, which served, and why a request failed.
ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client_id": "%REQ(X-CLIENT-REQUEST-ID)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "picked": _METADATA.format(PICKED_KEY),
    "served": _METADATA.format(SERVED_KEY),
    "scores": _METADATA.format(SCORES_KEY),
    "pod": "%RESP(X-INFERENCE-POD)%",
    "ext_proc": "%FILTER_STATE(envoy.filters.http.ext_proc:PLAIN)%",
    "picker_seen": "%RESP(X-WENT-INTO-RESP-HEADERS)%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
}


# Istio's sampling. Without a collector there is nobody to send a span to, but with it a route's name goes to
# the servers.
_TRACING: Json = {
    "client_sampling": {"value": 100},
    "random_sampling": {"value": 1},
    "overall_sampling": {"value": 100},
}

PROXY_CONFIG = "proxy.istio.io/config"


@dataclass(frozen=True)
class Bound:
    """A port of a gateway and where it listens on this machine."""

    port: int
    protocol: str
    listeners: tuple[Listener, ...]
    host: str
    local_port: int


def build_listener(
    manifests: Manifests,
    gateway: Gateway,
    bound: Bound,
    virtual_hosts: list[Json],
    log: Path,
    *,
    collector: Collector | None = None,
) -> Json:
    """A port of a gateway, its traces going to `collector`. Raises DocumentError."""
    manager = _connection_manager(bound, virtual_hosts, log)
    if collector is not None:
        service = f"{gateway.name}-istio.{gateway.namespace}"
        manager["tracing"] = {**_TRACING, **collector.tracing(service)}
    ports = [(bound.port, bound.local_port)]
    manager["http_filters"] = [*rbac.filters(manifests.policies, gateway, ports), *_http_filters()]
    if not makes_request_ids(gateway):
        manager["generate_request_id"] = False
    chain: Json = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    listener: Json = {
        "name": f"0.0.0.0_{bound.port}",
        "address": {"socket_address": {"address": bound.host, "port_value": bound.local_port}},
        "traffic_direction": "OUTBOUND",
        "filter_chains": [chain],
    }
    if bound.protocol == "HTTPS":
        listener["listener_filters"] = [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ]
        listener["filter_chains"] = [
            {**chain, **_tls_chain(manifests, gateway, item)} for item in bound.listeners
        ]
    return listener


def makes_request_ids(gateway: Gateway) -> bool:
    """Whether the gateway gives each request an `x-request-id` of its own, in place of the client's.

    Istio's gateways do, unless ProxyConfig says `proxyHeaders: {requestId: {disabled: true}}`, which their
    pods get as an annotation of the Gateway or of its infrastructure. Raises DocumentError for a
    ProxyConfig that cannot be read.
    """
    root = gateway.resource.root
    for place in (("spec", "infrastructure"), ("metadata",)):
        holder = root.at(*place)
        text = holder.string_map("annotations").get(PROXY_CONFIG) if holder.value else None
        if not text:
            continue
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise holder.error(f"{PROXY_CONFIG} is no YAML: {error}", "annotations", PROXY_CONFIG) from error
        for key in ("proxyHeaders", "requestId", "disabled"):
            config = config.get(key) if isinstance(config, dict) else None
        return config is not True
    return True


def _tls_chain(manifests: Manifests, gateway: Gateway, listener: Listener) -> Json:
    """Transport socket and SNI of an HTTPS listener, its certificate from a Secret of the manifests."""
    if not listener.certificates:
        raise listener.root.error("an HTTPS listener needs tls.certificateRefs")
    certificates = []
    for namespace, name in listener.certificates:
        source = (GATEWAY_GROUP, "Gateway", gateway.namespace)
        secret = manifests.secret(namespace, name)
        if secret is None or not {"tls.crt", "tls.key"} <= secret.data.keys():
            raise _certificate_error(
                listener, f"Secret {namespace}/{name} with tls.crt and tls.key not found"
            )
        if not is_granted(manifests, source, ("", "Secret", namespace), name):
            raise _certificate_error(listener, f"Secret {namespace}/{name} needs a ReferenceGrant")
        certificates.append(
            {
                "certificate_chain": {"inline_string": secret.data["tls.crt"].decode()},
                "private_key": {"inline_string": secret.data["tls.key"].decode()},
            }
        )
    context = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": certificates, "alpn_protocols": ["h2", "http/1.1"]},
    }
    chain: Json = {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
    if listener.hostname:
        chain["filter_chain_match"] = {"server_names": [listener.hostname]}
    return chain


def _certificate_error(listener: Listener, message: str) -> DocumentError:
    return listener.root.error(message, "tls", "certificateRefs")


def _connection_manager(bound: Bound, virtual_hosts: list[Json], log: Path) -> Json:
    name = f"{'https' if bound.protocol == 'HTTPS' else 'http'}.{bound.port}"
    return {
        "@type": MANAGER,
        "stat_prefix": f"outbound_0.0.0.0_{bound.port}",
        "server_name": "istio-envoy",
        "use_remote_address": True,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": "0s",
        "proxy_100_continue": True,
        "tracing": _TRACING,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": {},
        "access_log": [access_log(log)],
        "route_config": {
            "name": name,
            "virtual_hosts": virtual_hosts,
            "validate_clusters": False,
            "ignore_port_in_host_matching": True,
            "max_direct_response_body_size_bytes": 1048576,
        },
    }


def _http_filters() -> Sequence[Json]:
    """Istio's order on a gateway, without the filters that only Istio's own build of Envoy has."""
    stock: tuple[tuple[str, str, Json], ...] = (
        ("envoy.filters.http.grpc_stats", "grpc_stats.v3.FilterConfig", {"emit_filter_state": True}),
        ("envoy.filters.http.fault", "fault.v3.HTTPFault", {}),
        ("envoy.filters.http.cors", "cors.v3.Cors", {}),
        ("envoy.filters.http.router", "router.v3.Router", {}),
    )
    return [
        extproc.listener_filter(),
        *(
            {"name": name, "typed_config": {"@type": f"{_TYPE}.filters.http.{kind}", **config}}
            for name, kind, config in stock
        ),
    ]


def access_log(path: Path) -> Json:
    """The log that `logs`, `why`, `doctor` and the load generator read."""
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": ACCESS_LOG_FIELDS},
        },
    }
