"""The whole configuration of one gateway's Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.envoy.clusters import ClusterSpec, build_cluster, pool_spec, service_spec
from gateway.envoy.compat import LATEST, TABLE, Istio
from gateway.envoy.listeners import Bound, build_listener
from gateway.envoy.routes import RouteBuilder
from gateway.envoy.tracing import Collector
from gateway.manifests.attach import attach, attachments_of
from gateway.manifests.destinationrule import rule_for
from gateway.manifests.gatewayapi import Gateway, Listener
from gateway.manifests.load import Manifests

Json = dict[str, Any]

_SERVED_PROTOCOLS = {"HTTP", "HTTPS"}


@dataclass(frozen=True)
class EnvoyOptions:
    """Where one Envoy runs on this machine."""

    directory: Path  # bootstrap, access log and endpoint files
    ports: Mapping[int, int]  # listener port -> local port
    admin_port: int
    host: str = "127.0.0.1"
    istio: Istio = TABLE[LATEST]
    limits_admin: bool = True  # whether this Envoy has admin.allow_paths
    collector: Collector | None = None  # of traces

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"

    @property
    def eds_directory(self) -> Path:
        return self.directory / "eds"


@dataclass(frozen=True)
class EnvoyConfig:
    """A bootstrap, and the clusters in it whose endpoints have to be written."""

    bootstrap: Json
    clusters: tuple[ClusterSpec, ...]
    listeners: tuple[Bound, ...]


def listener_ports(gateway: Gateway) -> dict[int, tuple[Listener, ...]]:
    """The listeners that Envoy serves (HTTP and HTTPS) by port, in the order of the manifest."""
    ports: dict[int, list[Listener]] = {}
    for listener in gateway.listeners:
        if listener.protocol in _SERVED_PROTOCOLS:
            ports.setdefault(listener.port, []).append(listener)
    return {port: tuple(listeners) for port, listeners in ports.items()}


def build(manifests: Manifests, gateway: Gateway, options: EnvoyOptions) -> EnvoyConfig:
    """Everything of `manifests` that belongs to `gateway`, for an Envoy that runs as `options` says."""
    attachments = list(attachments_of(gateway, attach(manifests)))
    routes = RouteBuilder(manifests, options.istio)
    listeners, bound = [], []
    for port, of_port in listener_ports(gateway).items():
        place = Bound(port, of_port[0].protocol, of_port, options.host, options.ports[port])
        hosts = routes.virtual_hosts((a for a in attachments if a.listener in of_port), str(port))
        listeners.append(
            build_listener(manifests, gateway, place, hosts, options.access_log, collector=options.collector)
        )
        bound.append(place)
    specs = _cluster_specs(manifests, routes, options.eds_directory)
    clusters = []
    for spec in specs:
        owner = (spec.pool or spec.service or gateway).namespace
        rule = rule_for(manifests.destination_rules, spec.host, owner, gateway.namespace)
        clusters.append(build_cluster(spec, rule, options.istio))
    if options.collector is not None:
        clusters.append(options.collector.cluster)
    return EnvoyConfig(_bootstrap(gateway, listeners, clusters, options), tuple(specs), tuple(bound))


def _cluster_specs(manifests: Manifests, routes: RouteBuilder, directory: Path) -> list[ClusterSpec]:
    """Clusters of the routes' backends, and of the pickers' Services as far as such a Service port exists."""
    specs: dict[str, ClusterSpec] = {}
    for backend in list(routes.backends.values()):
        if backend.pool is not None:
            made = pool_spec(backend.pool, directory)
            specs[made.name] = made
            picker = backend.pool.picker
            service = manifests.services.get((backend.pool.namespace, picker.name)) if picker else None
            port = service.port(picker.port or 0) if service and picker else None
            if service and port:
                made = service_spec(service, port, directory)
                specs[made.name] = made
        elif backend.service is not None and backend.port is not None:
            made = service_spec(backend.service, backend.port, directory)
            specs[made.name] = made
    return list(specs.values())


# What a web page may ask for without harm: any page can POST to loopback.
_ADMIN_PATHS = (
    "ready|clusters|stats|stats/prometheus|config_dump|server_info|listeners|certs|reopen_logs|help"
)


def admin(options: EnvoyOptions) -> Json:
    """The admin interface, with what a web page may ask for."""
    found: Json = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": options.admin_port}}}
    if options.limits_admin:
        found["allow_paths"] = [{"safe_regex": {"regex": rf"/({_ADMIN_PATHS})?(\?.*)?"}}]
    return found


def runtime() -> Json:
    """Istio's runtime values of a gateway."""
    layer = {
        "re2.max_program_size.error_level": 32768,
        "overload.global_downstream_max_connections": 2147483647,
    }
    return {"layers": [{"name": "global", "static_layer": layer}]}


# The labels of /stats/prometheus, as Istio's bootstrap makes them (its envoy_bootstrap.json); only
# its pattern of http_conn_manager_prefix leaves a gateway's "outbound_0.0.0.0_80" in the family's name.
_STATS_TAGS = {
    "cluster_name": r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)",
    "response_code": r"_rq(_(\d{3}))$",
    "response_code_class": r"_rq(_(\dxx))$",
    "http_conn_manager_prefix": r"^http\.((outbound_[_.[:digit:]]*|[_.[:digit:]]*|admin)\.)",
    "listener_address": r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
}


def _bootstrap(gateway: Gateway, listeners: list[Json], clusters: list[Json], options: EnvoyOptions) -> Json:
    name = f"{gateway.name}-istio"
    return {
        "node": {
            "id": f"router~{options.host}~{name}.{gateway.namespace}~{gateway.namespace}.svc.cluster.local",
            "cluster": f"{name}.{gateway.namespace}",
        },
        "admin": admin(options),
        "layered_runtime": runtime(),
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _STATS_TAGS.items()],
        },
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
