"""The validator itself: what an API server would refuse is refused here, so a green matrix means something."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.charts.crds import SHARED, Crds

pytestmark = [
    pytest.mark.charts,
    pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there: no CRDs to validate against"),
]

POOL: dict[str, Any] = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "p"},
    "spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
    },
}
RULE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "d"},
    "spec": {"host": "h", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}},
}
ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "r"},
    "spec": {
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
                "backendRefs": [{"name": "s", "port": 80, "weight": 1}],
            }
        ]
    },
}


def broken(resource: dict[str, Any], change: Any) -> dict[str, Any]:
    changed = copy.deepcopy(resource)
    change(changed["spec"])
    return changed


@pytest.fixture(scope="module")
def crds() -> Crds:
    return Crds("inference-extension-v1.5.0", "gateway-api-v1.4.0", "istio")


@pytest.mark.parametrize("resource", [POOL, RULE, ROUTE], ids=lambda r: r["kind"])
def test_takes_what_is_right(crds: Crds, resource: dict[str, Any]) -> None:
    assert crds.errors(resource) == []


@pytest.mark.parametrize(
    ("resource", "word"),
    [
        (broken(POOL, lambda s: s["endpointPickerRef"].pop("port")), "port"),
        (broken(POOL, lambda s: s.update(targetPorts=[{"number": 1}, {"number": 1}])), "targetPorts"),
        (broken(POOL, lambda s: s.update(targetPortNumber=8000)), "targetPortNumber"),
        (broken(POOL, lambda s: s["endpointPickerRef"].update(failureMode="FailSometimes")), "failureMode"),
        (broken(RULE, lambda s: s["trafficPolicy"]["tls"].update(mode="EASY")), "mode"),
        (broken(ROUTE, lambda s: s["rules"][0]["backendRefs"][0].update(weigth=1)), "weigth"),
        (broken(ROUTE, lambda s: s["rules"][0]["matches"][0]["path"].update(value="v1")), "value"),
    ],
    ids=[
        "no picker port",
        "same port twice",
        "v1alpha2 field",
        "failure mode",
        "TLS mode",
        "misspelt weight",
        "path without slash",
    ],
)
def test_refuses_what_is_wrong(crds: Crds, resource: dict[str, Any], word: str) -> None:
    errors = crds.errors(resource)
    assert errors
    assert word in " ".join(errors), errors
