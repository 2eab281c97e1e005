"""Manifests for tests, as plain objects: pools, pickers, gateways and routes of one namespace."""

from __future__ import annotations

from typing import Any

import yaml

Json = dict[str, Any]

NAMESPACE = "apps"
GATEWAY_API = "gateway.networking.k8s.io/v1"
FOLLOW_HEADER = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: header-based-testing-filter
- type: random-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: header-based-testing-filter
  - pluginRef: random-picker
"""
"""The picker of the conformance suite: the request header test-epp-endpoint-selection says where to go."""


def dump(*objects: Json | list[Json]) -> str:
    flat = [o for item in objects for o in (item if isinstance(item, list) else [item])]
    return yaml.safe_dump_all(flat, sort_keys=False)


def meta(name: str, namespace: str = NAMESPACE, **more: Any) -> Json:
    return {"name": name, "namespace": namespace, **more}


def servers(
    name: str, replicas: int = 3, args: list[str] | None = None, ports: tuple[int, ...] = (8000,)
) -> Json:
    """A Deployment of model servers with label app=name."""
    container = {
        "name": "vllm",
        "image": "example.com/simfleet",
        "args": ["--model", "base", "--port", str(ports[0]), *(args or [])],
        "ports": [{"containerPort": p} for p in ports],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
    }
    return _deployment(name, replicas, container)


def _deployment(name: str, replicas: int, container: Json, **pod: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], **pod},
            },
        },
    }


def pool(
    name: str,
    app: str,
    picker: str | None,
    ports: tuple[int, ...] = (8000,),
    fail_open: bool = False,
    **spec: Any,
) -> Json:
    ref = {
        "name": picker,
        "port": {"number": 9002},
        "failureMode": "FailOpen" if fail_open else "FailClose",
    }
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": meta(name),
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "targetPorts": [{"number": p} for p in ports],
            **({"endpointPickerRef": ref} if picker else {}),
            **spec,
        },
    }


def service(name: str, app: str, port: int, target: int | None = None, /, **more: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name),
        "spec": {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target or port, **more}]},
    }


def picker(name: str, of_pool: str, config: str = FOLLOW_HEADER, args: list[str] | None = None) -> list[Json]:
    """Deployment, Service, ConfigMap and DestinationRule of an endpoint picker."""
    container = {
        "name": "epp",
        "args": [
            *("--pool-name", of_pool, "--pool-namespace", NAMESPACE, "--config-file", "/config/epp.yaml"),
            *(args or []),
        ],
        "ports": [{"containerPort": 9002}, {"containerPort": 9003}, {"containerPort": 9090}],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }
    volume = {"name": "config", "configMap": {"name": f"{name}-config"}}
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": meta(name),
        "spec": {"host": name, "trafficPolicy": {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}},
    }
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(f"{name}-config"),
        "data": {"epp.yaml": config},
    }
    return [
        _deployment(name, 1, container, volumes=[volume]),
        service(name, name, 9002, appProtocol="http2"),
        config_map,
        rule,
    ]


def listener(name: str = "http", port: int = 80, allow: Any = "All", **more: Any) -> Json:
    namespaces = allow if isinstance(allow, dict) else {"from": allow}
    return {
        "name": name,
        "port": port,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": namespaces},
        **more,
    }


def gateway(name: str, *listeners: Json, namespace: str = "infra") -> Json:
    return {
        "apiVersion": GATEWAY_API,
        "kind": "Gateway",
        "metadata": meta(name, namespace),
        "spec": {"gatewayClassName": "istio", "listeners": list(listeners) or [listener()]},
    }


def to_pool(name: str, weight: int | None = None, **more: Any) -> Json:
    ref = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, **more}
    return ref if weight is None else {**ref, "weight": weight}


def to_service(name: str, port: int, **more: Any) -> Json:
    return {"name": name, "port": port, **more}


def rule(*backends: Json, **more: Any) -> Json:
    return {"backendRefs": list(backends), **more}


def prefix(path: str) -> Json:
    return {"path": {"type": "PathPrefix", "value": path}}


def rewrite_to(path: str) -> Json:
    """A filter that makes a path of the test's own one that the model server knows."""
    return {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}},
    }


def route(
    name: str, parent: str, *rules: Json, hosts: tuple[str, ...] = (), namespace: str = NAMESPACE, **ref: Any
) -> Json:
    return {
        "apiVersion": GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": meta(name, namespace),
        "spec": {
            "parentRefs": [{"name": parent, "namespace": "infra", **ref}],
            **({"hostnames": list(hosts)} if hosts else {}),
            "rules": list(rules),
        },
    }


def grant(namespace: str, source: str, *targets: Json) -> Json:
    """Routes of namespace `source` may refer to `targets` in `namespace`."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": meta("grant", namespace),
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": source}],
            "to": list(targets),
        },
    }
