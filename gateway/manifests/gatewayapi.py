"""Gateway API kinds: Gateway, HTTPRoute and GRPCRoute as one Route, ReferenceGrant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.manifests.durations import Duration, gateway_duration
from gateway.manifests.resources import Resource, Typed
from kit.yamldoc import Cursor

GATEWAY_GROUP = "gateway.networking.k8s.io"
POOL_GROUP = "inference.networking.k8s.io"

# Filters that are translated; a rule with any other is answered 500, as the API asks.
FILTERS = frozenset(
    (
        "CORS",
        "RequestHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "ResponseHeaderModifier",
        "URLRewrite",
    )
)

MatchType = Literal["Exact", "PathPrefix", "RegularExpression"]


@dataclass(frozen=True)
class Listener:
    """One listener of a Gateway. `kinds` None: those that its protocol allows."""

    name: str
    port: int
    protocol: str
    hostname: str | None
    allowed_from: Literal["All", "Same", "Selector", "None"]
    allowed_labels: Mapping[str, str]
    kinds: tuple[tuple[str, str], ...] | None  # (group, kind)
    certificates: tuple[tuple[str, str], ...]  # (namespace, name) of Secrets
    root: Cursor


@dataclass(frozen=True)
class Gateway(Typed):
    listeners: tuple[Listener, ...]


@dataclass(frozen=True)
class ParentRef:
    group: str
    kind: str
    namespace: str
    name: str
    section_name: str | None
    port: int | None
    root: Cursor


@dataclass(frozen=True)
class ValueMatch:
    """A header or query parameter: exact, or a regular expression over the whole value."""

    name: str
    value: str
    is_regex: bool


@dataclass(frozen=True)
class Match:
    """All conditions of one match of a rule; a GRPCRoute's method is a path here."""

    path_type: MatchType = "PathPrefix"
    path: str = "/"
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    method: str | None = None


@dataclass(frozen=True)
class Filter:
    """One filter of a rule or backendRef; `root` is the mapping under the type's own key."""

    type: str
    root: Cursor


@dataclass(frozen=True)
class BackendRef:
    group: str
    kind: str
    namespace: str
    name: str
    port: int | None
    weight: int
    filters: tuple[Filter, ...]
    root: Cursor


@dataclass(frozen=True)
class Retry:
    """How often a request is sent again, on which status codes beside failed connections, how soon."""

    attempts: int
    codes: tuple[int, ...]
    backoff: Duration | None


@dataclass(frozen=True)
class Rule:
    matches: tuple[Match, ...]
    filters: tuple[Filter, ...]
    backends: tuple[BackendRef, ...]
    request_timeout: Duration | None
    backend_timeout: Duration | None
    retry: Retry | None
    root: Cursor


@dataclass(frozen=True)
class Route(Typed):
    """An HTTPRoute or a GRPCRoute."""

    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]

    @property
    def is_grpc(self) -> bool:
        return self.resource.kind == "GRPCRoute"


@dataclass(frozen=True)
class Grant(Typed):
    """A ReferenceGrant: who may refer to what in its namespace. An empty name allows every name."""

    sources: tuple[tuple[str, str, str], ...]  # (group, kind, namespace)
    targets: tuple[tuple[str, str, str], ...]  # (group, kind, name)


def read_gateway(resource: Resource) -> Gateway:
    """A Gateway; ManifestError when it has no listener or one that cannot be read."""
    spec = resource.root.child("spec")
    listeners = tuple(_read_listener(item, resource.namespace) for item in spec.items("listeners"))
    if not listeners:
        raise spec.error("listeners is missing: a Gateway has at least one")
    spec.text("gatewayClassName")  # every Gateway has one; all are run as Istio runs its own
    return Gateway(resource, listeners)


def _read_listener(root: Cursor, namespace: str) -> Listener:
    allowed = root.opt("allowedRoutes")
    namespaces = allowed.opt("namespaces") if allowed else None
    selector = namespaces.opt("selector") if namespaces else None
    source = namespaces.text("from", "Same") if namespaces else "Same"
    if namespaces is not None and source not in {"All", "Same", "Selector", "None"}:
        raise namespaces.error(f"must be All, Same or Selector, is {source!r}", "from")
    kinds = allowed.items("kinds") if allowed else []
    tls = root.opt("tls")
    return Listener(
        name=root.text("name"),
        port=root.number("port"),
        protocol=root.text("protocol"),
        hostname=root.text("hostname", "").lower() or None,
        allowed_from=source,  # type: ignore[arg-type] # checked above
        allowed_labels=selector.string_map("matchLabels") if selector else {},
        kinds=tuple((k.text("group", GATEWAY_GROUP), k.text("kind")) for k in kinds) or None,
        certificates=tuple(
            (ref.text("namespace", namespace), ref.text("name"))
            for ref in (tls.items("certificateRefs") if tls else [])
        ),
        root=root,
    )


def read_route(resource: Resource) -> Route:
    spec = resource.root.child("spec")
    grpc = resource.kind == "GRPCRoute"
    return Route(
        resource=resource,
        parents=tuple(_read_parent(p, resource.namespace) for p in spec.items("parentRefs")),
        hostnames=tuple(name.lower() for name in spec.strings("hostnames")),
        rules=tuple(_read_rule(r, resource.namespace, grpc=grpc) for r in spec.items("rules")),
    )


def _read_parent(root: Cursor, namespace: str) -> ParentRef:
    return ParentRef(
        group=root.text("group", GATEWAY_GROUP),
        kind=root.text("kind", "Gateway"),
        namespace=root.text("namespace", namespace),
        name=root.text("name"),
        section_name=root.text("sectionName", "") or None,
        port=root.number("port", 0) or None,
        root=root,
    )


def _read_rule(root: Cursor, namespace: str, *, grpc: bool) -> Rule:
    read_match = _read_grpc_match if grpc else _read_http_match
    timeouts, session = root.opt("timeouts"), root.opt("sessionPersistence")
    for key in ("absoluteTimeout", "idleTimeout"):
        gateway_duration(session, key)  # Istio serves no sessions; a wrong one is wrong all the same
    return Rule(
        matches=tuple(read_match(m) for m in root.items("matches")) or (Match(),),
        filters=_read_filters(root),
        backends=tuple(read_backend(b, namespace) for b in root.items("backendRefs")),
        request_timeout=gateway_duration(timeouts, "request"),
        backend_timeout=gateway_duration(timeouts, "backendRequest"),
        retry=_read_retry(root.opt("retry")),
        root=root,
    )


def _read_retry(root: Cursor | None) -> Retry | None:
    """Attempts default to 2, as in Istio."""
    if root is None:
        return None
    codes = []
    for item in root.items("codes"):
        if type(item.value) is not int or not 400 <= item.value <= 599:
            raise item.error(f"must be a status code from 400 to 599, is {item.value!r}")
        codes.append(item.value)
    backoff = gateway_duration(root, "backoff")
    if backoff == Duration(0):
        raise root.error("must be more than 0s: Envoy takes no retries without a pause", "backoff")
    return Retry(root.number("attempts", 2), tuple(codes), backoff)


def _read_http_match(root: Cursor) -> Match:
    path = root.opt("path")
    path_type = path.text("type", "PathPrefix") if path else "PathPrefix"
    value = path.text("value", "/") if path else "/"
    if path is not None and path_type not in {"Exact", "PathPrefix", "RegularExpression"}:
        raise path.error(f"must be Exact, PathPrefix or RegularExpression, is {path_type!r}", "type")
    if path is not None and path_type != "RegularExpression" and not value.startswith("/"):
        raise path.error(f"must start with '/', is {value!r}", "value")
    return Match(
        path_type=path_type,  # type: ignore[arg-type] # checked above
        path=value,
        headers=tuple(_read_value_match(h) for h in root.items("headers")),
        query=tuple(_read_value_match(q) for q in root.items("queryParams")),
        method=root.text("method", "") or None,
    )


def _read_grpc_match(root: Cursor) -> Match:
    headers = tuple(_read_value_match(h) for h in root.items("headers"))
    method = root.opt("method")
    if method is None:
        return Match(headers=headers)
    service, name = method.text("service", ""), method.text("method", "")
    if method.text("type", "Exact") == "RegularExpression":
        return Match("RegularExpression", f"/{service or '[^/]+'}/{name or '[^/]+'}", headers)
    if service and name:
        return Match("Exact", f"/{service}/{name}", headers)
    if service:
        return Match("PathPrefix", f"/{service}", headers)
    return Match("RegularExpression", f"/[^/]+/{re.escape(name)}", headers)


def _read_value_match(root: Cursor) -> ValueMatch:
    kind = root.text("type", "Exact")
    if kind not in {"Exact", "RegularExpression"}:
        raise root.error(f"must be Exact or RegularExpression, is {kind!r}", "type")
    return ValueMatch(root.text("name"), root.text("value"), kind == "RegularExpression")


def _read_filters(root: Cursor) -> tuple[Filter, ...]:
    filters = []
    for item in root.items("filters"):
        kind = item.text("type")
        filters.append(Filter(kind, item.child(_camel(kind))))
    return tuple(filters)


def _camel(kind: str) -> str:
    """The key of a filter type: RequestMirror -> requestMirror, URLRewrite -> urlRewrite."""
    special = {"URLRewrite": "urlRewrite", "CORS": "cors"}
    return special.get(kind, kind[:1].lower() + kind[1:])


def read_backend(root: Cursor, namespace: str) -> BackendRef:
    """A backendRef of a route in `namespace`; ManifestError for a negative weight."""
    weight = root.number("weight", 1)
    if weight < 0:
        raise root.error(f"must be 0 or more, is {weight}", "weight")
    return BackendRef(
        group=root.text("group", ""),
        kind=root.text("kind", "Service"),
        namespace=root.text("namespace", namespace),
        name=root.text("name"),
        port=root.number("port", 0) or None,
        weight=weight,
        filters=_read_filters(root),
        root=root,
    )


def read_grant(resource: Resource) -> Grant:
    spec = resource.root.child("spec")
    return Grant(
        resource=resource,
        sources=tuple((f.text("group"), f.text("kind"), f.text("namespace")) for f in spec.items("from")),
        targets=tuple((t.text("group"), t.text("kind"), t.text("name", "")) for t in spec.items("to")),
    )
