"""What is not read or not simulated, an entry for each object or field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.manifests.gatewayapi import FILTERS
from gateway.manifests.load import READ_KINDS, Manifests
from gateway.manifests.resources import Resource
from gateway.manifests.told.fields import idle_fields, unknown_fields
from gateway.manifests.told.kinds import CHANGING, is_quiet
from kit.yamldoc import Path, show_path

ISTIO_CLASSES = {"istio", "istio-waypoint", "istio-remote"}


class Why(StrEnum):
    """How a thing has no part: known and without effect; unknown; pods without a server; another's class."""

    NOT_SIMULATED = "not simulated"
    NOT_READ = "not read"
    NOT_RUN = "not run"
    RUN_ELSE = "run as Istio's"


@dataclass(frozen=True)
class Unread:
    """One thing of the manifests that has no part in the lab."""

    why: Why
    resource: Resource
    consequence: str
    path: Path = ()  # of the field; empty: the whole object

    @property
    def object(self) -> str:
        """`EnvoyFilter istio-ingress/tweak`, a field behind it."""
        return f"{self.resource} {show_path(self.path)}" if self.path else str(self.resource)

    @property
    def as_data(self) -> dict[str, Any]:
        """For machines: why, kind, namespace, name, field, consequence, where."""
        return {
            "why": str(self.why),
            "kind": self.resource.kind,
            "namespace": self.resource.namespace,
            "name": self.resource.name,
            "field": show_path(self.path) if self.path else None,
            "consequence": self.consequence,
            "where": f"{self.resource.root.file}:{self.resource.line_of(*self.path)}",
        }

    def __str__(self) -> str:
        return f"{self.why}: {self.object}: {self.consequence}"


def unread(manifests: Manifests) -> list[Unread]:
    """Everything of `manifests` that is not read or not simulated, in the order of the files."""
    found = [u for r in manifests.resources if not r.made_by for u in _of(manifests, r)]
    unmade = (Unread(Why.NOT_SIMULATED, r, missing.text, missing.path) for r, missing in manifests.unmade)
    of_made = {str(u): u for u in _of_made(manifests)}  # once, however many pods have it
    return [*found, *unmade, *of_made.values()]


def _of_made(manifests: Manifests) -> Iterator[Unread]:
    """Fields of the pods that custom objects hold, which their controllers write into others."""
    for made in manifests.resources:
        if (owner := made.made_by) is None:
            continue
        while owner.made_by is not None:
            owner = owner.made_by
        for path in unknown_fields(made):
            field = show_path(path[2:] if path[:2] == ("spec", "template") else path)
            text = f"{field} of its pods: an API server has no such field and drops it"
            yield Unread(Why.NOT_READ, owner, text)


def _of(manifests: Manifests, resource: Resource) -> Iterator[Unread]:
    kind = (resource.group, resource.kind)
    if (consequence := CHANGING.get(kind)) is not None:
        yield Unread(Why.NOT_SIMULATED, resource, consequence)
    elif kind not in READ_KINDS and not is_quiet(kind):
        text = f"kind {resource.kind} of {resource.api_version} is unknown here; whatever it does is missing"
        yield Unread(Why.NOT_READ, resource, text)
    if kind == ("security.istio.io", "AuthorizationPolicy"):
        yield from _policy(manifests, resource)
    if kind in {("gateway.networking.k8s.io", k) for k in ("HTTPRoute", "GRPCRoute")}:
        yield from _filters(resource)
    if kind == ("gateway.networking.k8s.io", "Gateway"):
        yield from _class(resource)
        yield from _listeners(resource)
    for path in unknown_fields(resource):
        text = "an API server has no such field: it refuses or drops it, and nothing here acts on it"
        yield Unread(Why.NOT_READ, resource, text, path)
    for path, consequence in idle_fields(resource):
        yield Unread(Why.NOT_SIMULATED, resource, consequence, path)


def _class(resource: Resource) -> Iterable[Unread]:
    name = resource.root.at("spec", "gatewayClassName").value
    if name not in ISTIO_CLASSES:
        text = f"class {name} is not Istio's; the gateway is run as Istio would run it"
        yield Unread(Why.RUN_ELSE, resource, text, ("spec", "gatewayClassName"))


def _policy(manifests: Manifests, resource: Resource) -> Iterator[Unread]:
    """An AuthorizationPolicy, as far as it does nothing at the gateways."""
    policy = next(p for p in manifests.policies if p.resource is resource)
    if policy.action in {"AUDIT", "CUSTOM"} or policy.dry_run:
        how = "a dry run" if policy.dry_run else f"action {policy.action}"
        yield Unread(Why.NOT_SIMULATED, resource, f"{how} lets every request pass here")
    elif manifests.gateways and not any(policy.selects(g) for g in manifests.gateways.values()):
        text = "it applies to no Gateway of the manifests, and pods have no sidecar that would enforce it"
        yield Unread(Why.NOT_SIMULATED, resource, text)
    fields = [v for r in policy.rules for vs in (*r.sources, r.conditions) for v in vs]
    asked = sorted({v.key for v in fields if v.key.startswith(("request.auth", "requestPrincipals"))})
    if asked:
        text = f"no token is checked here, so nobody fits {', '.join(asked)}"
        yield Unread(Why.NOT_SIMULATED, resource, text, ("spec", "rules"))


def _filters(resource: Resource) -> Iterator[Unread]:
    """Filters of a route that are not translated."""
    for rule in resource.root.child("spec").items("rules"):
        for i, item in enumerate(rule.items("filters")):
            if (name := item.text("type")) not in FILTERS:
                text = f"filter {name} is not translated: the rule answers 500"
                yield Unread(Why.NOT_SIMULATED, resource, text, (*rule.path, "filters", i, "type"))


def _listeners(resource: Resource) -> Iterator[Unread]:
    for i, listener in enumerate(resource.root.child("spec").items("listeners")):
        if (protocol := listener.text("protocol")) not in {"HTTP", "HTTPS"}:
            text = f"listeners that speak {protocol} are not run"
            yield Unread(Why.NOT_SIMULATED, resource, text, ("spec", "listeners", i, "protocol"))
        elif listener.at("tls", "mode").value == "Passthrough":
            text = "TLS is ended at the gateway or not at all: the listener is not run"
            yield Unread(Why.NOT_SIMULATED, resource, text, ("spec", "listeners", i, "tls", "mode"))
