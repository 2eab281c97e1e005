"""What an Envoy says it runs, from its admin port: listeners, routes, clusters and their endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]


def routes_of(dump: Mapping[str, Any]) -> Iterator[Json]:
    """Every route of a config_dump: listener port, virtual host, name, match, and where it leads."""
    named = {config.get("name"): config for config in _route_configs(dump)}
    for listener in _listeners(dump):
        address = listener.get("address", {}).get("socket_address", {})
        for manager in _managers(listener):
            ref = manager.get("rds", {}).get("route_config_name")
            config = manager.get("route_config") or named.get(ref, {})
            for host in config.get("virtual_hosts", ()):
                for route in host.get("routes", ()):
                    yield {
                        "listener": address.get("port_value"),
                        "config": config.get("name"),
                        "domains": host.get("domains", []),
                        "name": route.get("name", ""),
                        "match": match_of(route.get("match", {})),
                        "clusters": list(clusters_of(route)),
                        "action": action_of(route),
                    }


def _listeners(dump: Mapping[str, Any]) -> Iterator[Json]:
    for part in dump.get("configs", ()):
        for entry in part.get("static_listeners", ()):
            yield entry.get("listener", {})
        for entry in part.get("dynamic_listeners", ()):
            yield entry.get("active_state", {}).get("listener", {})


def _route_configs(dump: Mapping[str, Any]) -> Iterator[Json]:
    """Those that listeners name, as Envoy took them from their files."""
    for part in dump.get("configs", ()):
        for entry in part.get("dynamic_route_configs", ()):
            yield entry.get("route_config", {})


def _managers(listener: Mapping[str, Any]) -> Iterator[Json]:
    chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain") or {}]
    for chain in chains:
        for item in chain.get("filters", ()):
            config = item.get("typed_config", {})
            if "route_config" in config or "rds" in config:
                yield config


def match_of(match: Mapping[str, Any]) -> str:
    """A route's match in a line."""
    names = (("path", "="), ("prefix", ""), ("path_separated_prefix", ""))
    path = next((f"{sign}{match[name]}" for name, sign in names if name in match), "")
    if "safe_regex" in match:
        path = f"~{match['safe_regex'].get('regex', '')}"
    parts = [path]
    parts += [f"{header.get('name')}: {_plain(header)}" for header in match.get("headers", ())]
    parts += [f"?{query.get('name')}" for query in match.get("query_parameters", ())]
    return "  ".join(filter(None, parts))


def _plain(header: Mapping[str, Any]) -> str:
    found = header.get("string_match", {})
    return str(next(iter(found.values()), "*")) if isinstance(found, dict) else "*"


def clusters_of(route: Mapping[str, Any]) -> Iterator[Json]:
    """The clusters of a route with their weights."""
    action = route.get("route", {})
    if "cluster" in action:
        yield {"name": action["cluster"], "weight": 1}
    for cluster in action.get("weighted_clusters", {}).get("clusters", ()):
        yield {"name": cluster.get("name"), "weight": cluster.get("weight", 0)}


def action_of(route: Mapping[str, Any]) -> str:
    """What a route does, if it leads to no cluster."""
    if "direct_response" in route:
        return f"answers {route['direct_response'].get('status')}"
    return "redirects" if "redirect" in route else ""


def clusters(statuses: Mapping[str, Any]) -> list[Json]:
    """`/clusters?format=json` in short: each cluster's endpoints, healthy or not, and their requests."""
    return [
        {
            "name": cluster.get("name", ""),
            "endpoints": [_host(host) for host in cluster.get("host_statuses", ())],
        }
        for cluster in statuses.get("cluster_statuses", ())
    ]


def _host(host: Mapping[str, Any]) -> Json:
    place = host.get("address", {}).get("socket_address", {})
    counters = {stat.get("name"): stat.get("value", 0) for stat in host.get("stats", ())}
    health = host.get("health_status", {})
    troubles = [name for name, value in health.items() if value is True]
    return {
        "address": f"{place.get('address')}:{place.get('port_value')}",
        "health": ", ".join(troubles) or str(health.get("eds_health_status", "HEALTHY")).lower(),
        "requests": int(counters.get("rq_total", 0) or 0),
        "errors": int(counters.get("rq_error", 0) or 0),
    }


def parsed(pages: Iterable[tuple[int, bytes]]) -> list[Json]:
    """The JSON of admin pages; an empty object for one that was not to be had."""
    found: list[Json] = []
    for status, body in pages:
        try:
            value = json.loads(body) if status == 200 else {}
        except ValueError:
            value = {}
        found.append(value if isinstance(value, dict) else {})
    return found
