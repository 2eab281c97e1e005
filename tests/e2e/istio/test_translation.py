"""The same manifests through istiod and through our translation: every field that Envoy gets, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import worlds
from tests.e2e.istio import dumps, manifests
from tests.e2e.kubekit import Cluster
from tests.waiting import until

pytestmark = pytest.mark.istio


def _applied(istiod: str, *argv: str) -> tuple[dict[str, dumps.Leaves], dict[str, Any]]:
    """What the gateways of the richer manifests were given, and what was written into their status."""
    cluster = Cluster(*argv, istiod=istiod)
    try:
        cluster.apply(worlds.dump(*manifests.namespaces()))
        cluster.apply(worlds.dump(*manifests.objects()))
        until(lambda: _is_programmed(cluster), 180, "gateways that are programmed")
        until(lambda: _is_whole(cluster), 60, "all routes and endpoints")
        return dumps.leaves_of(cluster), _status(cluster)
    finally:
        assert cluster.close() == 0


def _is_programmed(cluster: Cluster) -> bool:
    status = _status(cluster)
    return all(status.get(f"Gateway {n}  Programmed") == "True Programmed" for n in ("gw", "second"))


def _is_whole(cluster: Cluster) -> bool:
    """Whether the pods run and every route is in Envoy."""
    pods = cluster.get("pods", "-n", worlds.NAMESPACE)["items"]
    ready = [p for p in pods if p["status"].get("containerStatuses", [{}])[0].get("ready")]
    found = dumps.leaves_of(cluster).get(manifests.GW, {})
    hosts = [path for path in found if path.startswith("routes") and path.endswith("domains[0]")]
    return len(ready) == 5 and len(hosts) >= len(manifests.RULES)


def _status(cluster: Cluster) -> dict[str, Any]:
    """Conditions by object, parent and type: status and reason."""
    found = {}
    for kind in ("httproutes", "gateways.gateway.networking.k8s.io", "inferencepools"):
        for obj in cluster.get(kind, "-A")["items"]:
            status = obj.get("status", {})
            parents = status.get("parents") or [status]
            for parent in parents:
                for item in parent.get("conditions", ()):
                    ref = parent.get("parentRef", {}).get("name", "")
                    key = f"{obj['kind']} {obj['metadata']['name']} {ref} {item['type']}"
                    found[key] = f"{item['status']} {item['reason']}"
    return found


def test_every_field_is_equal_or_explained(istiod: Path) -> None:
    theirs, their_status = _applied(str(istiod))
    ours, our_status = _applied("none", "--istio-bugs")
    assert theirs.keys() == ours.keys()
    paths = their_status.keys() | our_status.keys()
    found = {
        f"status > {p}": (their_status.get(p), our_status.get(p))
        for p in sorted(paths)
        if their_status.get(p) != our_status.get(p)
    }
    for name, leaves in theirs.items():
        of_one = dumps.differences(leaves, ours[name])
        found |= {f"{name}: {path}": values for path, values in of_one.items()}
    left, used = dumps.explained(found)
    told = [f"{path}: istiod {json.dumps(a)}, ours {json.dumps(b)}" for path, (a, b) in left.items()]
    assert not told, f"{len(told)} fields of {len(theirs)} gateways:\n" + "\n".join(told)
    stale = [row["where"] for i, row in enumerate(dumps.table()) if i not in used]
    assert stale == []
