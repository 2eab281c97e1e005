"""An Envoy that a real istiod programs: it gets all but its bootstrap by ADS.

What stands in the way of stock Envoy on one machine is told to istiod as EnvoyFilter patches: addresses that
can be bound here, and the access log that everything else here reads. Our own translation of the same
manifests is kept to see when istiod's has arrived.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.envoy.config import EnvoyConfig, admin, build, listener_ports, runtime
from gateway.envoy.listeners import MANAGER, Bound, access_log
from gateway.envoy.process import EndpointsOf, GatewayOptions, GatewayProcess
from gateway.machine.readiness import http_get
from gateway.manifests.authorization import gateway_labels
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.load import Manifests
from kit.errors import DocumentError

Json = dict[str, Any]
XDS = "xds-grpc"
CLUSTER_ID = "Kubernetes"
PATIENCE_S = 3.0  # how long a drain waits for endpoints that go through istiod
_HCM = "envoy.filters.network.http_connection_manager"


class IstiodGateway(GatewayProcess):
    """A gateway's Envoy behind istiod; `patches` has to be in an EnvoyFilter before it listens."""

    _published = 0.0  # when the endpoints changed last

    def _build(self, manifests: Manifests, gateway: Gateway) -> EnvoyConfig:
        """Our own translation; where there is none, istiod may still have one."""
        options = self._envoy_options()
        try:
            return build(manifests, gateway, options)
        except DocumentError:
            bound = (
                Bound(port, found[0].protocol, found, options.host, options.ports[port])
                for port, found in listener_ports(gateway).items()
            )
            return EnvoyConfig({"static_resources": {"listeners": [], "clusters": []}}, (), tuple(bound))

    def _first(self) -> Json:
        options = self._envoy_options()
        assert self._options.xds_port is not None
        return bootstrap(self.gateway, options.host, self._options.xds_port) | {
            "admin": admin(options),
            "layered_runtime": runtime(),
        }

    async def update(self, manifests: Manifests, gateway: Gateway, endpoints_of: EndpointsOf) -> bool:
        """Nothing to do but to know what is to come."""
        before = self.config
        self._renew(manifests, gateway)
        self.publish(endpoints_of)
        return before.bootstrap != self.config.bootstrap

    def publish(self, endpoints_of: EndpointsOf) -> None:
        """Keeps what istiod is to send, from the EndpointSlices that it reads."""
        wanted = {spec.name: tuple(endpoints_of(spec)) for spec in self.config.clusters}
        if wanted != self._written:
            self._written = wanted
            self._published = time.monotonic()

    async def has_applied(self) -> bool:
        """Whether istiod has sent the endpoints; it may never do what we would."""
        late = time.monotonic() - self._published > PATIENCE_S
        return late or await super().has_applied()

    async def has_converged(self) -> bool:
        """Whether Envoy has every cluster, route and endpoint that our translation has."""
        status, body = await http_get("127.0.0.1", self.admin_port, "/config_dump")
        if status != 200:
            return False
        clusters, routes = names_of(json.loads(body))
        resources = self.config.bootstrap["static_resources"]
        wanted = {
            route["name"]
            for listener in resources["listeners"]
            for chain in listener["filter_chains"]
            for host in chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
            for route in host["routes"]
        }
        has_all = wanted <= routes and {c["name"] for c in resources["clusters"]} <= clusters
        return has_all and await super().has_applied()

    @property
    def patches(self) -> list[Json]:
        """The configPatches of an EnvoyFilter for this gateway."""
        return list(_patches(self.config.listeners, self.access_log))


def gateway_process(
    manifests: Manifests,
    gateway: Gateway,
    directory: Path,
    options: GatewayOptions,
    taken: Mapping[int, str],
) -> GatewayProcess:
    """A gateway's Envoy, programmed by us or by the istiod that `options` names. Raises DocumentError."""
    kind = GatewayProcess if options.xds_port is None else IstiodGateway
    return kind(manifests, gateway, directory, options, taken)


def _patches(listeners: tuple[Bound, ...], log: Path) -> Iterator[Json]:
    for bound in listeners:
        address = {"socket_address": {"address": bound.host, "port_value": bound.local_port}}
        match: Json = {"context": "GATEWAY", "listener": {"portNumber": bound.port}}
        yield {
            "applyTo": "LISTENER",
            "match": match,
            "patch": {"operation": "MERGE", "value": {"address": address}},
        }
    manager = {"@type": MANAGER, "access_log": [access_log(log)]}
    yield {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": _HCM}}}},
        "patch": {"operation": "MERGE", "value": {"typed_config": manager}},
    }


def bootstrap(gateway: Gateway, host: str, xds_port: int) -> Json:
    """As pilot-agent starts a gateway's Envoy, in plaintext and without what only Istio's build has."""
    name, namespace = f"{gateway.name}-istio", gateway.namespace
    source: Json = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}
    return {
        "node": {
            "id": f"router~{host}~{name}.{namespace}~{namespace}.svc.cluster.local",
            "cluster": f"{name}.{namespace}",
            "metadata": {"LABELS": gateway_labels(gateway), "NAMESPACE": namespace, "CLUSTER_ID": CLUSTER_ID},
        },
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS}}],
            },
        },
        "static_resources": {
            "clusters": [
                {
                    "name": XDS,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": XDS,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/"
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                }
            ]
        },
    }


def names_of(dump: Json) -> tuple[set[str], set[str]]:
    """The names of clusters and of routes in a /config_dump."""
    clusters, routes = set(), set()
    for part in dump.get("configs", ()):
        for item in part.get("dynamic_active_clusters", ()):
            clusters.add(item["cluster"]["name"])
        for item in part.get("dynamic_route_configs", ()):
            for host in item["route_config"].get("virtual_hosts", ()):
                routes |= {route.get("name", "") for route in host.get("routes", ())}
    return clusters, routes
