"""What a cluster's Envoys were given, in a form in which two translations can be compared field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.kubekit import Cluster
from tests.e2e.worlds import Json

TABLE = Path(__file__).with_name("differences.yaml")
Leaves = dict[str, Any]
_SEPARATOR = " > "


def gateways(cluster: Cluster) -> dict[str, Json]:
    """The report of each gateway of `ps`, by name."""
    done = cluster.sh("simfleet-ps")
    assert done.returncode == 0, done.stderr
    (stack,) = json.loads(done.stdout)["stacks"]
    return {gateway["name"]: gateway for gateway in stack["gateways"]}


def leaves_of(cluster: Cluster) -> dict[str, Leaves]:
    """Every field of every gateway's listeners, routes, clusters and endpoints, by its path."""
    names = _places(cluster)
    found = {}
    for name, gateway in gateways(cluster).items():
        text = httpx.get(f"{gateway['admin_url']}/config_dump?include_eds", trust_env=False, timeout=30).text
        found[name] = dict(_leaves(_tree(_named(json.loads(text), names)), ""))
    return found


def _places(cluster: Cluster) -> dict[tuple[str, int | None], str]:
    """Names of the addresses of this machine, which differ from one cluster to the next."""
    found: dict[tuple[str, int | None], str] = {}
    for slice_ in cluster.get("endpointslices", "-A")["items"]:
        service = slice_["metadata"]["labels"]["kubernetes.io/service-name"]
        for i, endpoint in enumerate(slice_.get("endpoints") or ()):
            pod = endpoint.get("targetRef", {}).get("name", "")
            for address in endpoint["addresses"]:
                for port in slice_.get("ports") or ():
                    found[address, port["port"]] = f"{pod or service + str(i)}:{port['name']}"
    return found


def _named(value: Any, names: dict[tuple[str, int | None], str]) -> Any:
    """With names in place of socket addresses."""
    if isinstance(value, dict):
        if "address" in value and "port_value" in value:
            place = names.get((value["address"], value["port_value"]))
            return {"named": place} if place else {"address": value["address"], "port_value": "*"}
        return {key: _named(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner, names) for inner in value]
    return value


def _tree(dump: Json) -> Json:
    tree: Json = {"listener": {}, "routes": {}, "cluster": {}, "endpoints": {}}
    for part in dump["configs"]:
        for item in part.get("dynamic_listeners", ()):
            listener = item["active_state"]["listener"]
            tree["listener"][listener["name"]] = listener
        for item in part.get("dynamic_route_configs", ()):
            config = item["route_config"]
            tree["routes"][config["name"]] = config
        for item in part.get("dynamic_active_clusters", ()):
            tree["cluster"][item["cluster"]["name"]] = item["cluster"]
        for key in ("dynamic_endpoint_configs", "static_endpoint_configs"):
            for item in part.get(key, ()):
                config = item["endpoint_config"]
                tree["endpoints"][config["cluster_name"]] = _endpoints(config)
    return tree


def _endpoints(config: Json) -> Json:
    """By name of the place: what is said of each."""
    found = {}
    for locality in config.get("endpoints", ()):
        for item in locality.get("lb_endpoints", ()):
            place = item["endpoint"]["address"]["socket_address"]
            found[place.get("named") or str(place)] = {**item, "endpoint": {
                k: v for k, v in item["endpoint"].items() if k != "address"}}  # fmt: skip
        found["(locality)"] = {k: v for k, v in locality.items() if k != "lb_endpoints"}
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if not value:
            yield path, {}
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}{_SEPARATOR}{key}" if path else key)
    elif isinstance(value, list):
        names = [_name(item) for item in value]
        if value and all(names) and len(set(names)) == len(names):
            yield f"{path} (order)", names
            for name, item in zip(names, value, strict=True):
                yield from _leaves(item, f"{path}[{name}]")
        else:
            for i, item in enumerate(value):
                yield from _leaves(item, f"{path}[{i}]")
            yield f"{path} (count)", len(value)
    else:
        yield path, value


def _name(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    if "domains" in item:
        return str(item["domains"][0])
    return str(item.get("name", ""))


def differences(istio: Leaves, ours: Leaves) -> dict[str, tuple[Any, Any]]:
    """(istiod's value, ours) of each path where they differ; None: the field is not there.

    A listener, cluster or endpoint list that only one of them has is one difference.
    """
    paths = sorted(istio.keys() | ours.keys())
    both = {_object(p) for p in istio} & {_object(p) for p in ours}
    found = {}
    for path in paths:
        a, b = istio.get(path), ours.get(path)
        if a != b and _object(path) in both:
            found[path] = (a, b)
        elif a != b:
            found[f"{_object(path)} (whole)"] = (
                "there" if path in istio else None,
                "there" if path in ours else None,
            )
    return found


def _object(path: str) -> str:
    return _SEPARATOR.join(path.split(_SEPARATOR)[:2])


def table() -> list[Json]:
    """What is known to differ, with the reason: `where` is a regular expression over paths."""
    rows: list[Json] = yaml.safe_load(TABLE.read_text(encoding="utf-8")) or []
    return rows


def explained(found: dict[str, tuple[Any, Any]]) -> tuple[dict[str, tuple[Any, Any]], set[int]]:
    """What no row of the table explains, and the rows that explain something."""
    rows = [(re.compile(row["where"]), row) for row in table()]
    left, used = {}, set()
    for path, values in found.items():
        place = next((i for i, (pattern, _) in enumerate(rows) if pattern.search(path)), None)
        if place is None:
            left[path] = values
        else:
            used.add(place)
    return left, used
