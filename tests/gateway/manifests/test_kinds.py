"""How each kind is read: defaults, and what is wrong with its place and what would be right."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.destinationrule import rule_for
from gateway.manifests.gatewayapi import Match, Retry, ValueMatch
from gateway.manifests.load import Manifests, read
from gateway.manifests.workloads import EnvVar, ServicePort, Volume, VolumeMount
from kit.yamldoc import Document
from tests.e2e import worlds


def load(*objects: dict[str, Any]) -> Manifests:
    return read((Document("m.yaml", i, each, ManifestError) for i, each in enumerate(objects)), "apps")


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`base` with the value at `a.b.0.c`."""
    result = deepcopy(base)
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    at: Any = result
    for key in way:
        at = at[key]
    at[last] = value
    return result


POOL, GATEWAY = worlds.pool("p", "x", "epp"), worlds.gateway("gw")
SERVERS, SERVICE = worlds.servers("x"), worlds.service("svc", "x", 80)
ROUTE = worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))
CONTAINER = "spec.template.spec.containers.0"
CONFIG: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": worlds.meta("c")}
SECRET: dict[str, Any] = {**CONFIG, "kind": "Secret"}


@pytest.mark.parametrize(
    ("base", "path", "value", "words"),
    [
        (POOL, "spec.targetPorts", [], r"spec: targetPorts is missing"),
        (POOL, "spec.targetPorts.0.number", 0, r"spec\.targetPorts\[0\]\.number: must be between 1"),
        (POOL, "spec.targetPorts.0.number", "8000", r"must be an integer, is '8000'"),
        (POOL, "spec.appProtocol", "grpc", r"spec\.appProtocol: must be http or kubernetes\.io/h2c"),
        (POOL, "spec.endpointPickerRef.failureMode", "Open", r"failureMode: must be FailOpen or FailClose"),
        (POOL, "spec.selector", None, r"spec: selector is missing"),
        (GATEWAY, "spec.listeners", [], r"spec: listeners is missing"),
        (GATEWAY, "spec.gatewayClassName", None, r"gatewayClassName is missing"),
        (GATEWAY, "spec.listeners.0.port", "80", r"listeners\[0\]\.port: must be an integer"),
        (GATEWAY, "spec.listeners.0.allowedRoutes.namespaces.from", "Any", r"from: must be All, Same"),
        (ROUTE, "spec.rules.0.backendRefs.0.weight", -1, r"weight: must be 0 or more, is -1"),
        (ROUTE, "spec.rules.0.matches", [{"path": {"type": "Glob"}}], r"type: must be Exact, PathPrefix or"),
        (ROUTE, "spec.rules.0.matches", [{"path": {"value": "v1"}}], r"value: must start with '/'"),
        (ROUTE, "spec.rules.0.matches", [{"headers": [{"name": "a", "value": "b", "type": "P"}]}], r"Exact"),
        (ROUTE, "spec.rules.0.filters", [{"type": "CORS"}], r"filters\[0\]: cors is missing"),
        (ROUTE, "spec.rules.0.retry", {"codes": [399]}, r"codes\[0\]: must be a status code from 400 to 599"),
        (ROUTE, "spec.rules.0.retry", {"codes": [True]}, r"codes\[0\]: must be a status code"),
        (ROUTE, "spec.rules.0.retry", {"backoff": "0s"}, r"backoff: must be more than 0s"),
        (ROUTE, "spec.rules.0.timeouts", {"request": "1x"}, r"timeouts\.request"),
        (SERVERS, "spec.replicas", -1, r"spec\.replicas: must be 0 or more"),
        (SERVERS, "spec.template.spec.containers", [], r"containers is missing"),
        (SERVERS, f"{CONTAINER}.args", "--model", r"args: must be a list"),
        (SERVERS, f"{CONTAINER}.args", [8], r"args\[0\]: must be a string, is 8"),
        (SERVERS, f"{CONTAINER}.envFrom", [{}], r"envFrom\[0\]: secretRef is missing"),
        (SERVERS, "spec.template.spec.volumes", [{"name": "v"}, {"name": "v"}], r"the name v stands twice"),
        (SERVICE, "spec.ports.0.targetPort", True, r"targetPort: must be a port number or the name"),
        (SERVICE, "spec.selector.app", 1, r"selector\.app: must be a string"),
        (CONFIG, "data", {"a": 1}, r"data\.a: must be a string"),
        (SECRET, "data", {"a": "x"}, r"data\.a is not base64"),
        ({**CONFIG, "data": {"a": "b"}}, "binaryData", {"a": "YQ=="}, r"key a stands in data and"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(base: dict[str, Any], path: str, value: Any, words: str) -> None:
    with pytest.raises(ManifestError, match=rf"^m\.yaml: .*{words}|^m\.yaml:\d+: .*{words}"):
        load(changed(base, path, value))


def test_a_pool() -> None:
    pool = load(POOL).pools["apps", "p"]
    assert (pool.target_ports, pool.app_protocol, pool.selector) == ((8000,), "http", {"app": "x"})
    assert pool.picker is not None
    assert (pool.picker.kind, pool.picker.port, pool.picker.failure_mode) == ("Service", 9002, "FailClose")
    long = load(changed(POOL, "metadata.name", "p" * 60)).pools["apps", "p" * 60]
    assert len(long.shadow_service) == 63
    old = {**POOL, "apiVersion": "inference.networking.x-k8s.io/v1alpha2"}
    assert load(old).pools == {}, "Istio reads none of them"


def test_a_workload() -> None:
    mounted = changed(
        SERVERS, f"{CONTAINER}.volumeMounts", [{"name": "v", "mountPath": "/v", "subPath": "a/b"}]
    )
    sources = [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": True}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ]
    volumes = [
        {"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "a/b"}]}},
        {"name": "w", "secret": {"secretName": "s"}},
        {"name": "x", "emptyDir": {}},
    ]
    made = changed(changed(mounted, f"{CONTAINER}.env", sources), "spec.template.spec.volumes", volumes)
    del made["spec"]["replicas"]
    workload = load(made).workloads[0]
    assert (workload.replicas, workload.service_account) == (1, "default")
    container = workload.containers[0]
    assert container.mounts == (VolumeMount("v", "/v", "a/b"),)
    assert container.env == (
        EnvVar("A", value="1"),
        EnvVar("B", config_map_key=("c", "k"), optional=True),
        EnvVar("C", secret_key=("s", "k")),
        EnvVar("D", value=""),
    )
    assert workload.volumes == {
        "v": Volume("v", config_map="c", items={"k": "a/b"}),
        "w": Volume("w", secret="s"),
        "x": Volume("x"),
    }


@pytest.mark.parametrize(
    ("name", "app_protocol", "http2"),
    [
        ("grpc", None, True),
        ("grpc-x", None, True),
        ("http2-y", None, True),
        ("", "http2", True),
        ("", "kubernetes.io/h2c", True),
        ("grpc", "http", False),
        ("grpcx", None, False),
        ("http", None, False),
    ],
)
def test_a_service_port_s_protocol(name: str, app_protocol: str | None, http2: bool) -> None:
    assert ServicePort(name, 1, 1, app_protocol).is_http2 is http2


def test_config_maps_and_secrets() -> None:
    config = load({**CONFIG, "data": {"a": "ü"}, "binaryData": {"b": "AP8="}}).config_maps["apps", "c"]
    assert config.data == {"a": "ü".encode(), "b": b"\0\xff"}
    secret = load({**SECRET, "data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"a": "plain"}}).secrets
    assert secret["apps", "c"].data == {"a": b"plain", "b": b"b"}, "stringData wins, as in Kubernetes"


def test_a_route_s_defaults_and_a_grpc_route_s_paths() -> None:
    rule = load(changed(ROUTE, "spec.rules.0.retry", {"codes": [503]})).routes[0].rules[0]
    assert (rule.matches, rule.retry) == ((Match(),), Retry(2, (503,), None))
    methods = [
        {"method": {"service": "a.B", "method": "C"}},
        {"method": {"service": "a.B"}},
        {"method": {"method": "C.d"}},
        {"method": {"type": "RegularExpression", "service": "a.*"}},
        {"headers": [{"name": "h", "value": "v"}]},
    ]
    grpc = changed({**ROUTE, "kind": "GRPCRoute"}, "spec.rules.0.matches", methods)
    route = load(grpc).routes[0]
    assert route.is_grpc
    assert [(m.path_type, m.path) for m in route.rules[0].matches] == [
        ("Exact", "/a.B/C"),
        ("PathPrefix", "/a.B"),
        ("RegularExpression", "/[^/]+/C\\.d"),
        ("RegularExpression", "/a.*/[^/]+"),
        ("PathPrefix", "/"),
    ]
    assert route.rules[0].matches[4].headers == (ValueMatch("h", "v", False),)


def rule(name: str, namespace: str, host: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta(name, namespace),
        "spec": {"host": host, **spec},
    }


HOST = "svc.apps.svc.cluster.local"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([rule("a", "apps", "svc")], "a"),
        ([rule("a", "apps", HOST), rule("b", "infra", HOST)], "b"),
        ([rule("a", "istio-system", HOST)], "a"),
        ([rule("a", "istio-system", HOST), rule("b", "apps", "*.apps.svc.cluster.local")], "b"),
        ([rule("a", "apps", "*.local"), rule("b", "apps", "*.cluster.local")], "b"),
        ([rule("a", "apps", "*.local"), rule("b", "apps", HOST)], "b"),
        ([rule("a", "infra", "svc")], None),
        ([rule("a", "other", HOST)], None),
        ([rule("a", "apps", HOST, exportTo=["."])], None),
        ([rule("a", "apps", HOST, exportTo=["infra"])], "a"),
        ([rule("a", "apps", HOST, exportTo=["*"])], "a"),
        ([rule("a", "apps", HOST, exportTo=["other"])], None),
    ],
)
def test_which_destination_rule_a_gateway_follows(rules: list[dict[str, Any]], found: str | None) -> None:
    """The gateway is in infra, the Service in apps."""
    made = rule_for(load(*rules).destination_rules, HOST, "apps", "infra")
    assert (made.name if made else None) == found


def test_a_port_s_own_settings_replace_all_of_the_policy() -> None:
    policy = {
        "tls": {"mode": "SIMPLE"},
        "connectionPool": {"tcp": {"maxConnections": 1}},
        "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}],
    }
    made = load(rule("a", "apps", "svc", trafficPolicy=policy)).destination_rules[0]
    of_80, of_81 = made.settings("tls", 80), made.settings("tls", 81)
    assert of_80 is not None
    assert of_81 is not None
    assert (of_80.text("mode"), of_81.text("mode")) == ("DISABLE", "SIMPLE")
    assert made.settings("connectionPool", 80) is None
    assert made.settings("connectionPool", 81) is not None
    assert load(rule("a", "apps", "svc")).destination_rules[0].settings("tls", 80) is None


@pytest.mark.parametrize("where", ["trafficPolicy", "subsets"])
def test_a_malformed_duration_anywhere_in_a_rule(where: str) -> None:
    policy = {"outlierDetection": {"interval": "soon"}}
    spec = {where: policy} if where == "trafficPolicy" else {where: [{"name": "s", "trafficPolicy": policy}]}
    with pytest.raises(ManifestError, match=r"outlierDetection\.interval"):
        load(rule("a", "apps", "svc", **spec))
