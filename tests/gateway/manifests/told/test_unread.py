"""What is not read or not simulated is told by name, once, with what follows; the rest is not mentioned."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.manifests.load import READ_KINDS, load
from gateway.manifests.told.kinds import CHANGING, is_quiet
from gateway.manifests.told.unread import Unread, unread
from tests.e2e import worlds

ROOT = Path(__file__).parents[4]
CRDS = ROOT.parent / "shared" / "data" / "crds"


def told(*objects: Any) -> list[Unread]:
    return unread(load(["-"], "apps", io.StringIO(worlds.dump(*objects))))


def thing(group: str, kind: str, **spec: Any) -> dict[str, Any]:
    api = f"{group}/v1" if group else "v1"
    made = {"apiVersion": api, "kind": kind, "metadata": worlds.meta("it")}
    return {**made, "spec": spec} if spec else made


@pytest.mark.parametrize("kind", CHANGING)
def test_each_kind_that_changes_traffic_is_named_once(kind: tuple[str, str]) -> None:
    (found,) = told(thing(*kind))
    assert str(found) == f"not simulated: {found.resource}: {CHANGING[kind]}"
    assert found.as_data == {
        "why": "not simulated",
        "kind": kind[1],
        "namespace": found.resource.namespace,
        "name": "it",
        "field": None,
        "consequence": CHANGING[kind],
        "where": "<stdin>:1",
    }


def test_no_kind_is_in_two_tables() -> None:
    assert not READ_KINDS & CHANGING.keys()
    assert not [kind for kind in CHANGING if is_quiet(kind)]


def test_what_changes_nothing_is_not_mentioned() -> None:
    quiet = [
        ("", "ServiceAccount"),
        ("rbac.authorization.k8s.io", "Role"),
        ("monitoring.coreos.com", "PodMonitor"),
        ("policy", "PodDisruptionBudget"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("inference.networking.x-k8s.io", "InferenceObjective"),
        ("gateway.networking.k8s.io", "GatewayClass"),
    ]
    assert told(*(thing(*kind) for kind in quiet)) == []
    assert (
        told(worlds.servers("x"), worlds.pool("p", "x", "e"), worlds.picker("e", "p"), worlds.gateway("g"))
        == []
    )


def test_an_unknown_kind_is_told() -> None:
    (found,) = told(thing("example.com", "Deployment"))
    assert str(found) == (
        "not read: Deployment apps/it: kind Deployment of example.com/v1 is unknown here; "
        "whatever it does is missing"
    )


def test_unknown_fields_of_known_kinds() -> None:
    server = worlds.servers("x")
    container = server["spec"]["template"]["spec"]["containers"][0]
    container["port"] = []
    container["env"].append({"name": "A", "valueFrom": {"secretKeyReff": {}}})
    server["spec"]["replica"] = 2
    server["metadata"]["annotations"] = {"any/thing": "goes"}
    gateway = worlds.gateway("g")
    gateway["spec"]["listeners"][0]["hostName"] = "x"
    service = worlds.service("s", "x", 80)
    service["spec"]["selectors"] = {}
    assert [u.object for u in told(server, gateway, service)] == [
        "Deployment apps/x spec.template.spec.containers[0].env[2].valueFrom.secretKeyReff",
        "Deployment apps/x spec.template.spec.containers[0].port",
        "Deployment apps/x spec.replica",
        "Gateway infra/g spec.listeners[0].hostName",
        "Service apps/s spec.selectors",
    ]


def test_known_fields_without_effect() -> None:
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta("d"),
        "spec": {
            "host": "s",
            "subsets": [{"name": "v1"}],
            "trafficPolicy": {
                "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"consistentHash": {}}}],
            },
        },
    }
    plain = worlds.service("s", "x", 80)
    plain["spec"]["sessionAffinity"] = "None"
    sticky = worlds.service("t", "x", 80)
    sticky["spec"]["sessionAffinity"] = "ClientIP"
    assert [(u.object, str(u.why)) for u in told(rule, plain, sticky)] == [
        ("DestinationRule apps/d spec.subsets", "not simulated"),
        (
            "DestinationRule apps/d spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash",
            "not simulated",
        ),
        ("Service apps/t spec.sessionAffinity", "not simulated"),
    ]


def test_filters_that_are_not_translated() -> None:
    more = {"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "Y", "name": "z"}}
    route = worlds.route("r", "g", worlds.rule(worlds.to_pool("p"), filters=[worlds.rewrite_to("/v1"), more]))
    (found,) = told(route)
    assert str(found) == (
        "not simulated: HTTPRoute apps/r spec.rules[0].filters[1].type: "
        "filter ExtensionRef is not translated: the rule answers 500"
    )


def test_classes_and_listeners_of_gateways() -> None:
    gateway = worlds.gateway(
        "g",
        worlds.listener(),
        {"name": "tcp", "port": 9, "protocol": "TCP"},
        {"name": "tls", "port": 8, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}},
    )
    gateway["spec"]["gatewayClassName"] = "nginx"
    assert [str(u) for u in told(gateway)] == [
        "run as Istio's: Gateway infra/g spec.gatewayClassName: class nginx is not Istio's; "
        "the gateway is run as Istio would run it",
        "not simulated: Gateway infra/g spec.listeners[1].protocol: listeners that speak TCP are not run",
        "not simulated: Gateway infra/g spec.listeners[2].tls.mode: "
        "TLS is ended at the gateway or not at all: the listener is not run",
    ]


@pytest.mark.skipif(not CRDS.exists(), reason="the CRDs are not beside the repository")
def test_the_list_of_fields_has_those_of_the_crds() -> None:
    """Every property of every CRD is known; the list is made of them by make_fields.py."""
    fields = json.loads(files("gateway.manifests.told").joinpath("fields.json").read_text())

    def missing(schema: Any, tree: Any, path: str) -> list[str]:
        tree = fields["types"][tree] if isinstance(tree, str) else tree
        if tree is None:
            return []
        if schema.get("type") == "array":
            return missing(schema["items"], tree, path)
        found = []
        for name, below in schema.get("properties", {}).items():
            if name not in tree:
                found.append(f"{path}.{name}")
            elif isinstance(tree, dict) and name not in {"metadata", "status"}:
                found += missing(below, tree[name], f"{path}.{name}")
        return found

    crds = [crd for path in sorted(CRDS.rglob("*.yaml")) for crd in yaml.safe_load_all(path.read_text())]
    assert crds
    for crd in crds:
        kind = f"{crd['spec']['group']}/{crd['spec']['names']['kind']}"
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            assert missing(schema, fields["kinds"][kind], kind) == []
