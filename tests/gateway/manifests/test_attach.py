"""Routes to listeners, hostnames, references, conditions."""

from __future__ import annotations

import io

import pytest

from gateway.manifests.attach import attach, common_hostnames
from gateway.manifests.conditions import pool_conditions, route_conditions
from gateway.manifests.load import Manifests, load
from gateway.manifests.references import is_granted, resolve_backend
from tests.e2e import worlds


def read(*objects: object) -> Manifests:
    return load(["-"], "apps", io.StringIO(worlds.dump(*objects)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listener", "route", "common"),
    [
        (None, (), ("*",)),
        (None, ("a.com",), ("a.com",)),
        ("a.com", (), ("a.com",)),
        ("a.com", ("a.com", "b.com"), ("a.com",)),
        ("a.com", ("b.com",), ()),
        ("*.a.com", ("x.a.com", "y.x.a.com", "a.com"), ("x.a.com", "y.x.a.com")),
        ("x.a.com", ("*.a.com", "*.com"), ("x.a.com",)),
        ("*.a.com", ("*.a.com",), ("*.a.com",)),
        ("*.a.com", ("*.x.a.com",), ("*.x.a.com",)),
    ],
)
def test_common_hostnames(listener: str | None, route: tuple[str, ...], common: tuple[str, ...]) -> None:
    assert common_hostnames(listener, route) == common


def outcome(*objects: object) -> list[tuple[str, ...]]:
    """Per parentRef: the problem's reason, or the names of the listeners."""
    return [
        (r.problem.reason,) if r.problem else tuple(a.listener.name for a in r.attachments)
        for r in attach(read(*objects))
    ]


TWO = worlds.gateway("gw", worlds.listener("a", 80), worlds.listener("b", 81, "Same"))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (worlds.route("r", "gw", worlds.rule()), ("a",)),
        (worlds.route("r", "gw", worlds.rule(), namespace="infra"), ("a", "b")),
        (worlds.route("r", "gw", worlds.rule(), sectionName="b"), ("NotAllowedByListeners",)),
        (worlds.route("r", "gw", worlds.rule(), port=80), ("a",)),
        (worlds.route("r", "gw", worlds.rule(), sectionName="c"), ("NoMatchingParent",)),
        (worlds.route("r", "other", worlds.rule()), ("NoMatchingParent",)),
    ],
)
def test_attachment(route: object, expected: tuple[str, ...]) -> None:
    assert outcome(TWO, route) == [expected]


def test_a_selector_asks_the_namespace_s_labels() -> None:
    by_name = {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}
    gateway = worlds.gateway("gw", worlds.listener("a", 80, by_name))
    inside, outside = (worlds.route("r", "gw", worlds.rule(), namespace=n) for n in ("apps", "else"))
    assert outcome(gateway, inside, outside) == [("a",), ("NotAllowedByListeners",)]


def test_kinds_and_hostnames_limit() -> None:
    grpc_only = worlds.listener("a", 80)
    grpc_only["allowedRoutes"]["kinds"] = [{"kind": "GRPCRoute"}]
    assert outcome(worlds.gateway("gw", grpc_only), worlds.route("r", "gw", worlds.rule())) == [
        ("NotAllowedByListeners",)
    ]
    named = worlds.gateway("gw", worlds.listener("a", 80, hostname="a.com"))
    assert outcome(named, worlds.route("r", "gw", worlds.rule(), hosts=("b.com",))) == [
        ("NoMatchingListenerHostname",)
    ]


def test_grants() -> None:
    to_pool = {"group": "inference.networking.k8s.io", "kind": "InferencePool"}
    source = ("gateway.networking.k8s.io", "HTTPRoute", "web")
    target = ("inference.networking.k8s.io", "InferencePool", "apps")
    assert not is_granted(read(), source, target, "p")
    assert is_granted(read(worlds.grant("apps", "web", to_pool)), source, target, "p")
    assert is_granted(read(worlds.grant("apps", "web", {**to_pool, "name": "p"})), source, target, "p")
    assert not is_granted(read(worlds.grant("apps", "web", {**to_pool, "name": "q"})), source, target, "p")
    assert not is_granted(read(worlds.grant("apps", "api", to_pool)), source, target, "p")
    assert is_granted(read(), source, (*target[:2], "web"), "p"), "its own namespace"


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        (worlds.to_pool("pool"), "outbound|54321||pool-ip-"),
        (worlds.to_pool("gone"), "BackendNotFound"),
        (worlds.to_pool("bare"), "BackendNotFound"),
        (worlds.to_pool("pool", namespace="else"), "RefNotPermitted"),
        (worlds.to_service("svc", 80), "outbound|80||svc.apps.svc.cluster.local"),
        (worlds.to_service("none", 80), "BackendNotFound"),
        ({"name": "svc"}, "UnsupportedValue"),
        ({"name": "x", "kind": "Bucket", "group": "s3"}, "InvalidKind"),
    ],
)
def test_backends(ref: object, found: str) -> None:
    manifests = read(
        worlds.pool("pool", "x", "epp"),
        worlds.pool("bare", "x", None),
        worlds.service("svc", "x", 80),
        worlds.route("r", "gw", worlds.rule(ref)),  # type: ignore[arg-type]
    )
    route = manifests.routes[0]
    backend = resolve_backend(manifests, route, route.rules[0].backends[0])
    assert (backend.cluster or (backend.problem and backend.problem.reason) or "").startswith(found)


@pytest.mark.parametrize(
    ("ref", "destination"),
    [
        (worlds.to_service("svc", 81), "outbound|81||svc.apps.svc.cluster.local"),
        (worlds.to_service("none", 80), "outbound|80||none.apps.svc.cluster.local"),
        (worlds.to_service("svc", 80, namespace="else"), "UnknownService"),
        (worlds.to_pool("gone", port=80), "UnknownService"),
        ({"name": "svc"}, "UnknownService"),
        ({"name": "x", "kind": "Bucket", "group": "s3", "port": 80}, "UnknownService"),
    ],
)
def test_what_leads_nowhere_names_a_cluster_that_does_not_exist(ref: object, destination: str) -> None:
    manifests = read(worlds.service("svc", "x", 80), worlds.route("r", "gw", worlds.rule(ref)))  # type: ignore[arg-type]
    route = manifests.routes[0]
    backend = resolve_backend(manifests, route, route.rules[0].backends[0])
    assert (backend.cluster, backend.destination) == (None, destination)


def test_a_missing_port_counts_as_resolved() -> None:
    route = worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 81)))
    manifests = read(worlds.gateway("gw"), worlds.service("svc", "x", 80), route)
    conditions = {c.type: c.status for c in route_conditions(manifests, attach(manifests))}
    assert conditions == {"Accepted": True, "ResolvedRefs": True}


def test_conditions_in_istio_s_words() -> None:
    manifests = read(
        worlds.gateway("gw"),
        worlds.pool("pool", "x", "epp"),
        worlds.route("good", "gw", worlds.rule(worlds.to_pool("pool"))),
        worlds.route("bad", "gw", worlds.rule(worlds.to_pool("gone"))),
        worlds.route("lost", "nowhere", worlds.rule(worlds.to_pool("pool"))),
    )
    results = attach(manifests)
    routes = {(c.object, c.type): (c.status, c.reason) for c in route_conditions(manifests, results)}
    assert routes["HTTPRoute apps/good", "Accepted"] == (True, "Accepted")
    assert routes["HTTPRoute apps/bad", "ResolvedRefs"] == (False, "BackendNotFound")
    assert routes["HTTPRoute apps/lost", "Accepted"] == (False, "NoMatchingParent")
    pools = {
        (c.gateway, c.type): (c.status, c.reason, c.message) for c in pool_conditions(manifests, results)
    }
    assert pools["infra/gw", "Accepted"][:2] == (True, "Accepted")
    assert pools["infra/gw", "ResolvedRefs"] == (
        False, "InvalidExtensionRef", "Referenced ExtensionRef not found epp"
    )  # fmt: skip
    assert pools["infra/nowhere", "Accepted"][:2] == (False, "HTTPRouteNotAccepted")
