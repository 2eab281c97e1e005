"""Istio's AuthorizationPolicy: who may ask a gateway for what."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.manifests.destinationrule import ROOT_NAMESPACE
from gateway.manifests.gatewayapi import GATEWAY_GROUP, Gateway
from gateway.manifests.resources import Resource, Typed, selects
from kit.yamldoc import Cursor

DRY_RUN = "istio.io/dry-run"
_ACTIONS = {"ALLOW", "DENY", "AUDIT", "CUSTOM"}
_SOURCE = ("principals", "requestPrincipals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks")
_OPERATION = ("hosts", "methods", "paths", "ports")
# Conditions of `when`, and those whose key goes on in brackets.
_KEYS = {
    *("source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount"),
    *("request.auth.principal", "request.auth.audiences", "request.auth.presenter"),
    *("destination.ip", "destination.port", "connection.sni"),
}
_BRACKETED = ("request.headers[", "request.auth.claims[", "experimental.envoy.filters.")


@dataclass(frozen=True)
class Values:
    """One field of a rule: it fits one of `any_of` (none: everything) and none of `none_of`."""

    key: str  # a field of source or operation, or a condition's key
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]


@dataclass(frozen=True)
class PolicyRule:
    """Any of `sources`, any of `operations` (no list: everything) and all of `conditions`."""

    sources: tuple[tuple[Values, ...], ...]
    operations: tuple[tuple[Values, ...], ...]
    conditions: tuple[Values, ...]
    root: Cursor


@dataclass(frozen=True)
class AuthorizationPolicy(Typed):
    action: str
    rules: tuple[PolicyRule, ...]
    targets: tuple[tuple[str, str, str], ...]  # (group, kind, name); none: by selector
    selector: Mapping[str, str]
    dry_run: bool

    def selects(self, gateway: Gateway) -> bool:
        """Whether Istio gives it to this gateway: by targetRefs, else by labels and namespace."""
        if self.targets:
            named = (GATEWAY_GROUP, "Gateway", gateway.name) in self.targets
            return named and self.namespace == gateway.namespace
        if self.namespace not in {ROOT_NAMESPACE, gateway.namespace}:
            return False
        return not self.selector or selects(self.selector, gateway_labels(gateway))


def gateway_labels(gateway: Gateway) -> dict[str, str]:
    """The labels of the pods that Istio makes for a gateway."""
    root = gateway.resource.root
    infrastructure = root.at("spec", "infrastructure")
    own = infrastructure.string_map("labels") if infrastructure.value else dict(gateway.resource.labels)
    name = gateway.name
    return {
        **own,
        "gateway.networking.k8s.io/gateway-name": name,
        "gateway.networking.k8s.io/gateway-class-name": "istio",
        "gateway.istio.io/managed": "istio.io-gateway-controller",
        "service.istio.io/canonical-name": f"{name}-istio",
        "service.istio.io/canonical-revision": "latest",
    }


def read_policy(resource: Resource) -> AuthorizationPolicy:
    """An AuthorizationPolicy; ManifestError for what Istio's validation refuses."""
    spec = resource.root.opt("spec")
    if spec is None:  # it allows nothing
        return AuthorizationPolicy(resource, "ALLOW", (), (), {}, dry_run=False)
    action = spec.text("action", "ALLOW")
    if action not in _ACTIONS:
        raise spec.error(f"must be one of {', '.join(sorted(_ACTIONS))}, is {action!r}", "action")
    selector, one = spec.opt("selector"), spec.opt("targetRef")
    refs = [*spec.items("targetRefs"), *([one] if one else [])]
    if refs and selector:
        raise spec.error("only one of selector and targetRefs can be set", "selector")
    return AuthorizationPolicy(
        resource=resource,
        action=action,
        rules=tuple(_read_rule(rule) for rule in spec.items("rules")),
        targets=tuple((r.text("group", ""), r.text("kind"), r.text("name")) for r in refs),
        selector=selector.string_map("matchLabels") if selector else {},
        dry_run=resource.annotations.get(DRY_RUN) == "true",
    )


def _read_rule(root: Cursor) -> PolicyRule:
    return PolicyRule(
        sources=tuple(_read_fields(f.child("source"), _SOURCE) for f in root.items("from")),
        operations=tuple(_read_fields(t.child("operation"), _OPERATION) for t in root.items("to")),
        conditions=tuple(_read_condition(w) for w in root.items("when")),
        root=root,
    )


def _read_fields(root: Cursor, names: tuple[str, ...]) -> tuple[Values, ...]:
    found = []
    for name in names:
        opposite = f"not{name[:1].upper()}{name[1:]}"
        values = Values(name, tuple(root.strings(name)), tuple(root.strings(opposite)))
        for key in (name, opposite):
            for item in root.items(key):
                _check(name, item)
        if values.any_of or values.none_of:
            found.append(values)
    if not found:
        raise root.error(f"is empty; it takes {', '.join(names)}")
    return tuple(found)


def _read_condition(root: Cursor) -> Values:
    key = root.text("key")
    if key not in _KEYS and not key.startswith(_BRACKETED):
        raise root.error(f"Istio knows no attribute {key!r}", "key")
    if key.startswith(_BRACKETED) and not key.endswith("]"):
        raise root.error(f"must end with a name in brackets, is {key!r}", "key")
    values = Values(key, tuple(root.strings("values")), tuple(root.strings("notValues")))
    if not values.any_of and not values.none_of:
        raise root.error("needs values or notValues")
    kind = {"destination.port": "ports", "source.ip": "ipBlocks", "remote.ip": "ipBlocks"}.get(key, "")
    for item in (*root.items("values"), *root.items("notValues")):
        _check("ipBlocks" if key == "destination.ip" else kind, item)
    return values


def _check(kind: str, item: Cursor) -> None:
    """Raise ManifestError for an empty value, a port that is none and an address that is none."""
    text = item.as_str()
    if not text:
        raise item.error("must not be empty")
    if kind == "ports" and not (text.isdecimal() and int(text) <= 65535):
        raise item.error(f"must be a port from 0 to 65535, is {text!r}")
    if kind in {"ipBlocks", "remoteIpBlocks"}:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise item.error(f"must be an address or a CIDR block, is {text!r}") from None
