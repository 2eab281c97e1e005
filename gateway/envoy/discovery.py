"""An Envoy's configuration as files that it watches: listeners, routes and clusters change while it runs.

`build()` gives one bootstrap that holds everything; here its resources are taken out into a file for each
discovery service. A route change is taken over without a connection being closed; a changed listener drains.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gateway.envoy.eds import replace_file

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy.config"
_FILE = re.compile(r"[^\w.-]")


class DiscoveryFiles:
    """The files of one Envoy; `write` replaces those that changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: dict[Path, str] = {}
        self._clusters: list[Json] = []
        self.versions: dict[str, str] = {}  # of each file that stands: what Envoy says once it has taken it
        directory.mkdir(parents=True, exist_ok=True)

    def bootstrap(self, whole: Json) -> Json:
        """`whole` without its resources, which are looked for in the files."""
        kept = {key: value for key, value in whole.items() if key != "static_resources"}
        sources = {"lds_config": self._source("listeners"), "cds_config": self._source("clusters")}
        return {**kept, "dynamic_resources": sources}

    def write(self, whole: Json, *, with_old_clusters: bool = False) -> bool:
        """Writes the resources of `whole`; whether anything changed. OSError names a file.

        Clusters come first and go last: with the old ones kept, no route ever leads to one that is gone.
        """
        resources = whole["static_resources"]
        clusters = {c["name"]: c for c in resources["clusters"]}
        if with_old_clusters:
            clusters = {c["name"]: c for c in self._clusters} | clusters
        changed = self._put("clusters", "cluster.v3.Cluster", clusters.values())
        self._clusters = resources["clusters"]
        routes: dict[str, Json] = {}
        listeners = [self._without_routes(listener, routes) for listener in resources["listeners"]]
        for name, route in routes.items():
            changed |= self._put(_route_file(name), "route.v3.RouteConfiguration", [route])
        changed |= self._put("listeners", "listener.v3.Listener", listeners)
        wanted = {"clusters", "listeners", *map(_route_file, routes)}
        self.versions = {name: v for name, v in self.versions.items() if name in wanted}
        return changed

    def _without_routes(self, listener: Json, routes: dict[str, Json]) -> Json:
        """The listener, its routes put into `routes` and looked for by name."""
        chains = []
        for chain in listener["filter_chains"]:
            (filter_,) = chain["filters"]
            manager = dict(filter_["typed_config"])
            route = manager.pop("route_config")
            routes[route["name"]] = route
            source = self._source(_route_file(route["name"]))
            manager["rds"] = {"route_config_name": route["name"], "config_source": source}
            chains.append({**chain, "filters": [{**filter_, "typed_config": manager}]})
        return {**listener, "filter_chains": chains}

    def _source(self, name: str) -> Json:
        return {
            "resource_api_version": "V3",
            "path_config_source": {"path": str(self._path(name))},
            "initial_fetch_timeout": "0s",
        }

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _put(self, name: str, type_: str, resources: Iterable[Json]) -> bool:
        # By name: Envoy takes no notice of an update in which only the order is another.
        typed = [{"@type": f"{_TYPE}.{type_}", **r} for r in sorted(resources, key=lambda r: str(r["name"]))]
        text = json.dumps(typed, indent=1, sort_keys=True)
        path = self._path(name)
        if self._written.get(path) == text:
            return False
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        replace_file(path, json.dumps({"version_info": version, "resources": typed}, indent=1))
        self._written[path] = text
        if typed:
            self.versions[name] = version
        else:
            self.versions.pop(name, None)  # of nothing it tells no version
        return True


def _route_file(name: str) -> str:
    return "routes-" + _FILE.sub("_", name)


def taken_over(versions: dict[str, str], dump: Json) -> tuple[bool, str | None]:
    """Whether Envoy's /config_dump has all of `versions`, and in its words why it refuses one."""
    known: dict[str, str] = {}
    refused = None
    for part in dump.get("configs", ()):
        kind = part.get("@type", "").rpartition(".")[2]
        if kind == "ClustersConfigDump":
            known["clusters"] = part.get("version_info", "")
            refused = refused or _refusal(part.get("dynamic_active_clusters", ()))
            refused = refused or _refusal(part.get("dynamic_warming_clusters", ()))
        elif kind == "ListenersConfigDump":
            known["listeners"] = part.get("version_info", "")
            refused = refused or _refusal(part.get("dynamic_listeners", ()))
        elif kind == "RoutesConfigDump":
            for route in part.get("dynamic_route_configs", ()):
                name = route.get("route_config", {}).get("name", "")
                known[_route_file(name)] = route.get("version_info", "")
            refused = refused or _refusal(part.get("dynamic_route_configs", ()))
    return all(known.get(name) == version for name, version in versions.items()), refused


def _refusal(items: Iterable[Json]) -> str | None:
    found = (item.get("error_state", {}).get("details") for item in items)
    return next((str(text) for text in found if text), None)
