"""Rules about routes: parents, backends, grants, filters, paths."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.lint.finding import Finding, find
from gateway.manifests.attach import ParentResult, attach
from gateway.manifests.gatewayapi import (
    GATEWAY_GROUP,
    POOL_GROUP,
    BackendRef,
    Route,
    Rule,
)
from gateway.manifests.load import Manifests
from gateway.manifests.references import is_granted

API_PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/models")


def check(manifests: Manifests) -> Iterator[Finding]:
    for result in attach(manifests):
        yield from _check_parent(manifests, result)
    for route in manifests.routes:
        for rule in route.rules:
            yield from _check_rule(manifests, route, rule)
    yield from _check_paths(manifests)


def _check_parent(manifests: Manifests, result: ParentResult) -> Iterator[Finding]:
    """A parentRef that attaches to no listener; manifests without any gateway are a part of a whole."""
    if result.problem is not None and (result.gateway is not None or manifests.gateways):
        yield find(
            "route-parent",
            result.parent.root,
            f"{result.route}: {result.problem.message}",
            "the route is not attached: its paths are answered 404",
            "name an existing Gateway and sectionName, let the listener's allowedRoutes take this "
            "namespace, and give hostnames that the listener has",
        )


def _check_rule(manifests: Manifests, route: Route, rule: Rule) -> Iterator[Finding]:
    yield from _check_rewrite(route, rule)
    pools = [b for b in rule.backends if b.kind == "InferencePool"]
    for backend in rule.backends:
        yield from _check_backend(manifests, route, backend)
        if backend.kind == "InferencePool" and backend.port is not None:
            yield find(
                "route-port",
                backend.root,
                f"{route}: port {backend.port} on a reference to pool {backend.name}",
                "Istio ignores it: the pool's targetPorts decide",
                "leave it out",
                "port",
            )
    if len(pools) > 1:
        yield find(
            "route-pools",
            pools[1].root,
            f"{route}: one rule shares its traffic among {len(pools)} pools",
            "before istio#61594 is fixed one pool's picker is asked for both: the other gets 503",
            "a rule for each pool, or an Istio with that fix",
        )
    for given in rule.filters:
        if pools and given.type == "CORS":
            yield find(
                "route-filter",
                given.root,
                f"{route}: a CORS filter on a rule with an InferencePool",
                "Istio drops the picker's filter from such a route: requests go round robin or fail",
                "put CORS on a rule without pools, or let the model servers answer preflights",
            )


def _check_rewrite(route: Route, rule: Rule) -> Iterator[Finding]:
    """A rule for / that replaces its prefix."""
    if all(m.path_type != "PathPrefix" or m.path.rstrip("/") for m in rule.matches):
        return
    for given in rule.filters:
        path = given.root.opt("path") if given.type == "URLRewrite" else None
        new = path.text("replacePrefixMatch", "").rstrip("/") if path else ""
        if new:
            yield find(
                "route-filter",
                given.root,
                f"{route}: a rule for / replaces its prefix by {new}",
                f"Istio loses the slash (istio#60182): /x goes to {new}x",
                "a rule for each path below /, such as /v1",
            )


def _check_backend(manifests: Manifests, route: Route, backend: BackendRef) -> Iterator[Finding]:
    target = f"{backend.namespace}/{backend.name}"
    if backend.kind == "InferencePool" and backend.group != POOL_GROUP:
        yield find(
            "route-backend",
            backend.root,
            f"{route}: group {backend.group or 'core'!r} for InferencePool {backend.name}",
            "Istio answers InvalidKind and the route gives 500",
            f"group: {POOL_GROUP}",
            "group",
        )
        return
    known = manifests.pools if backend.kind == "InferencePool" else manifests.services
    if (
        backend.kind in ("InferencePool", "Service")
        and known
        and (backend.namespace, backend.name) not in known
    ):
        yield find(
            "route-backend",
            backend.root,
            f"{route}: there is no {backend.kind} {target}",
            "ResolvedRefs is False (BackendNotFound) and the route gives 500",
            "name one that exists, with its namespace",
            "name",
        )
    yield from _check_port(manifests, route, backend)
    if backend.namespace != route.namespace and not _granted(manifests, route, backend):
        yield find(
            "route-grant",
            backend.root,
            f"{route} refers to {backend.kind} {target} in another namespace without a ReferenceGrant",
            "ResolvedRefs is False (RefNotPermitted) and the route gives 500",
            f"a ReferenceGrant in {backend.namespace} from {route.resource.kind} of {route.namespace}",
            "namespace",
        )


def _check_port(manifests: Manifests, route: Route, backend: BackendRef) -> Iterator[Finding]:
    """A Service that is there, and its port that is not."""
    target = f"{backend.namespace}/{backend.name}"
    service = manifests.services.get((backend.namespace, backend.name)) if backend.kind == "Service" else None
    if service is not None and backend.port is not None and service.port(backend.port) is None:
        yield find(
            "route-backend",
            backend.root,
            f"{route}: Service {target} has no port {backend.port}",
            "Istio writes ResolvedRefs True all the same and the route gives 500",
            f"one of its ports: {', '.join(str(port.port) for port in service.ports)}",
            "port",
        )


def _granted(manifests: Manifests, route: Route, backend: BackendRef) -> bool:
    source = (GATEWAY_GROUP, route.resource.kind, route.namespace)
    return is_granted(manifests, source, (backend.group, backend.kind, backend.namespace), backend.name)


def _check_paths(manifests: Manifests) -> Iterator[Finding]:
    """Over all routes to a pool: what of the usual API nobody routes."""
    for pool in manifests.pools.values():
        rules = [
            (route, rule)
            for route in manifests.routes
            for rule in route.rules
            if any(b.kind == "InferencePool" and (b.namespace, b.name) == pool.key for b in rule.backends)
        ]
        found = [m for _, rule in rules for m in rule.matches if m.path_type != "RegularExpression"]
        missing = [p for p in API_PATHS if not any(_covers(m.path_type, m.path, p) for m in found)]
        if found and missing:
            yield find(
                "route-paths",
                rules[0][1].root,
                f"{rules[0][0]} leaves out {', '.join(missing)}",
                "those paths are answered 404",
                "a match for each path that clients use, or PathPrefix /v1",
                "matches",
            )


def _covers(kind: str, path: str, wanted: str) -> bool:
    if kind == "Exact":
        return path == wanted
    prefix = path.rstrip("/")
    return wanted == prefix or wanted.startswith(prefix + "/")
