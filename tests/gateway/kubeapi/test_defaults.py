"""What the CRDs' defaults add, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kubeapi.defaults import with_defaults
from gateway.kubeapi.store import Store

GROUP = "inference.networking.k8s.io"


@pytest.mark.parametrize(
    ("kind", "spec", "filled"),
    [
        (
            "InferencePool",
            {"endpointPickerRef": {"name": "epp", "failureMode": "FailOpen"}},
            {
                "appProtocol": "http",
                "endpointPickerRef": {
                    "name": "epp",
                    "failureMode": "FailOpen",
                    "group": "",
                    "kind": "Service",
                },
            },
        ),
        ("InferencePool", {}, {"appProtocol": "http"}),
        (
            "InferenceObjective",
            {"priority": -1, "poolRef": {"name": "p"}},
            {"priority": -1, "poolRef": {"name": "p", "group": GROUP, "kind": "InferencePool"}},
        ),
        (
            "InferenceObjective",
            {"poolRef": {"name": "p", "group": "mine"}},
            {"poolRef": {"name": "p", "group": "mine", "kind": "InferencePool"}},
        ),
        (
            "InferenceModelRewrite",
            {"poolRef": {"name": "p"}, "rules": [{"matches": [{"model": {"value": "a"}}]}, {"targets": []}]},
            {
                "poolRef": {"name": "p", "group": GROUP, "kind": "InferencePool"},
                "rules": [{"matches": [{"model": {"value": "a", "type": "Exact"}}]}, {"targets": []}],
            },
        ),
        ("InferenceModelRewrite", {"rules": [7, {"matches": [None]}]}, {"rules": [7, {"matches": [None]}]}),
        ("ConfigMap", {"poolRef": {}}, {"poolRef": {}}),
    ],
)
def test_defaults(kind: str, spec: dict[str, Any], filled: dict[str, Any]) -> None:
    given = {"kind": kind, "spec": spec}
    before = repr(given)
    assert with_defaults(given)["spec"] == filled
    assert repr(given) == before, "the object itself is not touched"


def test_the_store_applies_them() -> None:
    store = Store()
    objective = {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": "o", "namespace": "ns"},
        "spec": {"poolRef": {"name": "p"}},
    }
    store.apply(objective)
    kind = store.kind_of(objective)
    assert kind is not None
    stored = store.get(kind, "ns", "o")
    assert stored is not None
    assert stored["spec"]["poolRef"]["group"] == GROUP
    version = store.version
    store.apply(objective)
    assert store.version == version, "no change"
