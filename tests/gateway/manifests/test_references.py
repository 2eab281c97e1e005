"""What backendRefs come to, and what Istio writes about it on routes and pools."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.attach import attach
from gateway.manifests.conditions import pool_conditions, route_conditions
from gateway.manifests.load import Manifests, read
from gateway.manifests.references import is_granted, resolve_backend
from kit.yamldoc import Document
from tests.e2e import worlds


def manifests(*objects: Any) -> Manifests:
    flat = [o for item in objects for o in (item if isinstance(item, list) else [item])]
    return read((Document("m.yaml", i, each, ManifestError) for i, each in enumerate(flat)), "apps")


POOL, SERVICE = worlds.pool("p", "x", "epp"), worlds.service("svc", "x", 80)
ELSEWHERE = {**worlds.to_pool("p"), "namespace": "other"}


def resolved(backend: dict[str, Any], *more: Any) -> tuple[str | None, str, str]:
    """Reason of the problem, the cluster that the route names, and its prefix."""
    made = manifests(POOL, SERVICE, worlds.route("r", "gw", worlds.rule(backend)), *more)
    route = made.routes[0]
    found = resolve_backend(made, route, route.rules[0].backends[0])
    return found.problem.reason if found.problem else None, found.destination, found.cluster or ""


def test_a_pool_and_a_service() -> None:
    reason, destination, cluster = resolved({**worlds.to_pool("p"), "port": 1})
    assert (reason, destination) == (None, cluster)
    assert cluster.startswith("outbound|54321||p-ip-")
    host = "outbound|80||svc.apps.svc.cluster.local"
    assert resolved(worlds.to_service("svc", 80)) == (None, host, host)


@pytest.mark.parametrize(
    ("backend", "reason", "destination"),
    [
        (worlds.to_pool("gone"), "BackendNotFound", "UnknownService"),
        (worlds.to_service("gone", 80), "BackendNotFound", "outbound|80||gone.apps.svc.cluster.local"),
        ({"name": "gone"}, "BackendNotFound", "UnknownService"),
        ({"name": "svc"}, "UnsupportedValue", "UnknownService"),
        (worlds.to_service("svc", 81), None, "outbound|81||svc.apps.svc.cluster.local"),
        ({"name": "x", "kind": "Bucket", "group": "s3", "port": 1}, "InvalidKind", "UnknownService"),
        ({**worlds.to_pool("p"), "group": ""}, "InvalidKind", "UnknownService"),
        (ELSEWHERE, "RefNotPermitted", "UnknownService"),
    ],
)
def test_what_does_not_resolve(backend: dict[str, Any], reason: str | None, destination: str) -> None:
    assert resolved(backend) == (reason, destination, "")


def test_a_pool_without_a_picker() -> None:
    assert resolved(worlds.to_pool("q"), worlds.pool("q", "x", None))[0] == "BackendNotFound"


@pytest.mark.parametrize(
    ("name", "granted"), [("", True), ("p", True), ("q", False)], ids=["all", "this one", "another"]
)
def test_grants(name: str, granted: bool) -> None:
    to = {"group": "inference.networking.k8s.io", "kind": "InferencePool", **({"name": name} if name else {})}
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": worlds.meta("g", "other"),
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "apps"}],
            "to": [to],
        },
    }
    made = manifests(grant)
    target = ("inference.networking.k8s.io", "InferencePool", "other")
    source = ("gateway.networking.k8s.io", "HTTPRoute", "apps")
    assert is_granted(made, source, target, "p") is granted
    assert not is_granted(made, (*source[:2], "infra"), target, "p")
    assert not is_granted(made, ("gateway.networking.k8s.io", "GRPCRoute", "apps"), target, "p")
    assert is_granted(made, source, (*target[:2], "apps"), "p"), "one's own namespace"


def conditions(*objects: Any) -> list[tuple[str, str, bool, str]]:
    made = manifests(*objects)
    results = attach(made)
    found = route_conditions(made, results) + pool_conditions(made, results)
    assert {c.gateway for c in found} == {"infra/gw"}
    return [(c.object.split(" ")[0], c.type, c.status, c.reason) for c in found]


TO_POOL = worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))


def test_conditions_of_what_is_sound() -> None:
    assert conditions(worlds.gateway("gw"), POOL, worlds.service("epp", "epp", 9002), TO_POOL) == [
        ("HTTPRoute", "Accepted", True, "Accepted"),
        ("HTTPRoute", "ResolvedRefs", True, "ResolvedRefs"),
        ("InferencePool", "Accepted", True, "Accepted"),
        ("InferencePool", "ResolvedRefs", True, "ResolvedRefs"),
    ]


def test_conditions_of_what_is_not() -> None:
    assert conditions(POOL, TO_POOL) == [
        ("HTTPRoute", "Accepted", False, "NoMatchingParent"),
        ("HTTPRoute", "ResolvedRefs", True, "ResolvedRefs"),
        ("InferencePool", "Accepted", False, "HTTPRouteNotAccepted"),
        ("InferencePool", "ResolvedRefs", False, "InvalidExtensionRef"),
    ]
    missing = worlds.route("r", "gw", worlds.rule(worlds.to_pool("gone")))
    assert conditions(worlds.gateway("gw"), missing)[1] == (
        "HTTPRoute", "ResolvedRefs", False, "BackendNotFound"
    )  # fmt: skip


def test_one_route_that_is_accepted_is_enough() -> None:
    worse = worlds.route("s", "gw", worlds.rule(worlds.to_pool("p")))
    worse["spec"]["parentRefs"][0]["sectionName"] = "gone"
    for order in ([TO_POOL, worse], [worse, TO_POOL]):
        found = conditions(worlds.gateway("gw"), POOL, *order)
        assert ("InferencePool", "Accepted", True, "Accepted") in found
