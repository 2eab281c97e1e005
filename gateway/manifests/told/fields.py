"""Fields: those that no API server knows, and those that it knows and the lab does not act on."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor, Path

_OLD_POOL = ("inference.networking.x-k8s.io", "InferencePool")  # told of as a whole
Tree = Any  # None: anything; list: leaves; dict: fields below; str: one of the named types


@functools.cache
def _known() -> dict[str, Any]:
    """fields.json: `kinds` by "group/kind" and the `types` that they share."""
    found: dict[str, Any] = json.loads(files("gateway.manifests.told").joinpath("fields.json").read_text())
    return found


def unknown_fields(resource: Resource) -> Iterator[Path]:
    """The paths of fields that this kind does not have in any version. Nothing for kinds without a list."""
    tree = _known()["kinds"].get(f"{resource.group}/{resource.kind}")
    if tree is not None and (resource.group, resource.kind) != _OLD_POOL:
        yield from _unknown(tree, resource.root)


def _unknown(tree: Tree, at: Cursor) -> Iterator[Path]:
    if isinstance(tree, str):
        tree = _known()["types"][tree]
    if tree is None:
        return
    if isinstance(at.value, list):
        for i in range(len(at.value)):
            yield from _unknown(tree, at.at(i))
    elif isinstance(at.value, dict):
        for name in at.value:
            if name not in tree:
                yield (*at.path, name)
            elif isinstance(tree, dict):
                yield from _unknown(tree[name], at.at(name))


# Paths of known fields, `*` for any item, and what follows of their being there.
_IDLE: dict[tuple[str, str], dict[str, str]] = {
    ("gateway.networking.k8s.io", "HTTPRoute"): {
        "spec.rules.*.sessionPersistence": "Istio keeps no sessions for it, nor does the lab",
    },
    ("gateway.networking.k8s.io", "Gateway"): {
        "spec.addresses": "the gateway listens where --host and --port say",
        "spec.listeners.*.tls.frontendValidation": "certificates of clients are not asked for",
        "spec.tls": "certificates of clients and backends are not asked for",
        "spec.allowedListeners": "ListenerSets are not read",
        "spec.listeners.*.allowedRoutes.namespaces.selector.matchExpressions": "only matchLabels count",
    },
    ("networking.istio.io", "DestinationRule"): {
        "spec.subsets": "no route of the Gateway API names subsets",
        "spec.workloadSelector": "the rule applies to the gateways whatever it selects",
        **{
            f"spec.trafficPolicy.{port}loadBalancer.{name}": text
            for port in ("", "portLevelSettings.*.")
            for name, text in (
                ("consistentHash", "requests go to the endpoint with the fewest instead"),
                ("localityLbSetting", "everything is in one place here"),
                ("warmup", "new endpoints get their full share at once"),
                ("warmupDurationSecs", "new endpoints get their full share at once"),
            )
        },
        "spec.trafficPolicy.proxyProtocol": "no PROXY header is sent",
        "spec.trafficPolicy.tunnel": "nothing is tunnelled",
        "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive": "connections have the system's keep-alive",
        "spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration": "connections live on",
    },
    ("", "Service"): {
        "spec.externalName": "hosts outside the manifests are not reached",
        "spec.sessionAffinity": "the gateway balances over endpoints, as Envoy does in a cluster",
    },
    ("inference.networking.k8s.io", "InferencePool"): {
        "spec.selector.matchExpressions": "matchLabels alone are looked at",
    },
}  # fmt: skip
_QUIET_VALUES = {("", "Service"): {"spec.sessionAffinity": "None"}}


def idle_fields(resource: Resource) -> Iterator[tuple[Path, str]]:
    """(path, consequence) of fields that are known and not simulated."""
    kind = (resource.group, resource.kind)
    for pattern, consequence in _IDLE.get(kind, {}).items():
        for found in _at(resource.root, pattern.split(".")):
            if found.value != _QUIET_VALUES.get(kind, {}).get(pattern, ()):
                yield found.path, consequence


def _at(at: Cursor, steps: list[str]) -> Iterator[Cursor]:
    if not steps:
        if at.value is not None:
            yield at
    elif steps[0] == "*":
        for i in range(len(at.value) if isinstance(at.value, list) else 0):
            yield from _at(at.at(i), steps[1:])
    else:
        yield from _at(at.at(steps[0]), steps[1:])
