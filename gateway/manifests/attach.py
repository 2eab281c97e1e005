"""Which routes attach to which listeners, and under which hostnames: Gateway API's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.manifests.gatewayapi import GATEWAY_GROUP, Gateway, Listener, ParentRef, Route
from gateway.manifests.load import Manifests
from gateway.manifests.references import Problem
from gateway.manifests.resources import selects

_ROUTE_KINDS = {"HTTP": {"HTTPRoute", "GRPCRoute"}, "HTTPS": {"HTTPRoute", "GRPCRoute"}}


@dataclass(frozen=True)
class Attachment:
    """A route at one listener of a gateway; `hostnames` is what both agree on, `*` for all."""

    route: Route
    gateway: Gateway
    listener: Listener
    hostnames: tuple[str, ...]


@dataclass(frozen=True)
class ParentResult:
    """What became of one parentRef: attachments, or the problem that kept the route out."""

    route: Route
    parent: ParentRef
    gateway: Gateway | None
    attachments: tuple[Attachment, ...]
    problem: Problem | None


def attach(manifests: Manifests) -> list[ParentResult]:
    """Every parentRef of every route that names a Gateway, with its outcome."""
    return [
        _attach_to(manifests, route, parent)
        for route in manifests.routes
        for parent in route.parents
        if (parent.group, parent.kind) == (GATEWAY_GROUP, "Gateway")
    ]


def attachments_of(gateway: Gateway, results: list[ParentResult]) -> Iterator[Attachment]:
    for result in results:
        if result.gateway is not None and result.gateway.key == gateway.key:
            yield from result.attachments


def _attach_to(manifests: Manifests, route: Route, parent: ParentRef) -> ParentResult:
    gateway = manifests.gateways.get((parent.namespace, parent.name))
    if gateway is None:
        problem = Problem("NoMatchingParent", f"Gateway {parent.namespace}/{parent.name} not found")
        return ParentResult(route, parent, None, (), problem)
    found = _attachments(manifests, route, parent, gateway)
    if isinstance(found, Problem):
        return ParentResult(route, parent, gateway, (), found)
    return ParentResult(route, parent, gateway, found, None)


def _attachments(
    manifests: Manifests, route: Route, parent: ParentRef, gateway: Gateway
) -> tuple[Attachment, ...] | Problem:
    """Where a route attaches to a gateway, at one listener at least; else what keeps it out."""
    listeners = [
        listener
        for listener in gateway.listeners
        if parent.section_name in {None, listener.name} and parent.port in {None, listener.port}
    ]
    if not listeners:
        wanted = parent.section_name or parent.port
        known = ", ".join(listener.name for listener in gateway.listeners)
        return Problem("NoMatchingParent", f"{gateway} has no listener {wanted}, only {known}")
    allowed = [x for x in listeners if _allows(manifests, gateway, x, route)]
    if not allowed:
        names = ", ".join(listener.name for listener in listeners)
        return Problem(
            "NotAllowedByListeners",
            f"{gateway} allows no {route.resource.kind} of namespace {route.namespace} at its listener "
            f"{names}",
        )
    attached = tuple(
        Attachment(route, gateway, listener, hostnames)
        for listener in allowed
        if (hostnames := common_hostnames(listener.hostname, route.hostnames))
    )
    return attached or Problem(
        "NoMatchingListenerHostname", f"no hostname of the route fits a listener of {gateway}"
    )


def _allows(manifests: Manifests, gateway: Gateway, listener: Listener, route: Route) -> bool:
    kind = (GATEWAY_GROUP, route.resource.kind)
    if listener.kinds is not None and kind not in listener.kinds:
        return False
    if route.resource.kind not in _ROUTE_KINDS.get(listener.protocol, set()):
        return False
    if listener.allowed_from == "Same":
        return route.namespace == gateway.namespace
    if listener.allowed_from == "Selector":
        return selects(listener.allowed_labels, manifests.namespace_labels(route.namespace))
    return listener.allowed_from == "All"


def common_hostnames(listener: str | None, route: tuple[str, ...]) -> tuple[str, ...]:
    """The hostnames that a listener's (None: all) and a route's (none: all) have in common."""
    if listener is None:
        return route or ("*",)
    if not route:
        return (listener,)
    found = []
    for name in route:
        if name == listener or _covers(listener, name):
            found.append(name)
        elif _covers(name, listener):
            found.append(listener)
    return tuple(dict.fromkeys(found))


def _covers(wildcard: str, name: str) -> bool:
    """Whether `*.example.com` covers a name, itself a wildcard or not, of one label more or several."""
    return wildcard.startswith("*.") and name != wildcard and name.removeprefix("*").endswith(wildcard[1:])
