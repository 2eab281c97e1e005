"""KServe's presets: what an LLMInferenceService has where neither it nor its base configurations say so.

Facts: kserve/kserve config/llmisvcconfig, August 2026; there they are LLMInferenceServiceConfigs named
kserve-config-llm-*. TLS is off, as in KServe's own configuration.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.manifests.expand.objects import Object

POOL, PICKER, SERVICE = "-inference-pool", "-epp-service", "-kserve-workload-svc"
HEADER = "X-Gateway-Model-Name"
_SERVER_IMAGE = "ghcr.io/llm-d/llm-d-cuda:v0.9.0"
_SIDECAR_IMAGE = "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.10.0"
_PICKER_IMAGE = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0"
_TOKENIZER_IMAGE = "docker.io/vllm/vllm-openai-cpu:v0.23.0"
_APIS = ("completions", "chat/completions", "responses", "messages")
_LONGEST, _DIGEST = 63, 32  # characters of a name, and of a digest in it


def child_name(parent: str, suffix: str) -> str:
    """A name that is made of another and still a label (knative's kmeta.ChildName)."""
    if len(parent) <= _LONGEST - len(suffix):
        return parent + suffix
    digest = hashlib.md5(parent.encode(), usedforsecurity=False).hexdigest()
    return f"{parent[: _LONGEST - _DIGEST - len(suffix)]}{digest}{suffix}"


@dataclass(frozen=True)
class Service:
    """What the presets read of an LLMInferenceService."""

    namespace: str
    name: str
    model: str

    @property
    def published(self) -> str:
        """The second name of its model, by which gateways tell models apart."""
        return f"publishers/{self.namespace}/models/{self.model}"


def served(service: Service, port: int, flags: str, *, published: bool = True) -> list[str]:
    """The command of a server: more flags come of a variable and of the container's args."""
    names = [service.model, service.published] if published else [service.model]
    named = " ".join(shlex.quote(name) for name in names)
    words = f"exec vllm serve /mnt/models --served-model-name {named} --port {port} {flags}".rstrip()
    return ["/bin/bash", "-c", f'eval "{words} ${{VLLM_ADDITIONAL_ARGS}} $*"', "--"]


def server(service: Service, port: int, flags: str = "", *, published: bool = True) -> Object:
    """A pod of one server."""
    main = {
        "name": "main",
        "image": _SERVER_IMAGE,
        "command": served(service, port, flags, published=published),
        "ports": [{"containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": port}},
    }
    return {"containers": [main]}


def decode(service: Service, flags: str = "") -> Object:
    """A pod of a server behind the routing sidecar."""
    sidecar = {
        "name": "llm-d-routing-sidecar",
        "image": _SIDECAR_IMAGE,
        "restartPolicy": "Always",
        "command": [
            *("/app/pd-sidecar", "--port=8000", "--vllm-port=8001", "--kv-connector=nixlv2"),
            *("--enable-ssrf-protection=true", "--pool-group=inference.networking.x-k8s.io"),
            f"--inference-pool={service.namespace}/{child_name(service.name, POOL)}",
            "--secure-proxy=false",
        ],
        "ports": [{"containerPort": 8000}],
    }
    return {**server(service, 8001, flags), "initContainers": [sidecar]}


def ranks(parallelism: Mapping[str, Any], *, leads: bool) -> str:
    """The flags of one pod of a group that shares its data-parallel ranks."""
    local = parallelism.get("dataLocal") or 1
    start = "0" if leads else f"$(( ${{LWS_WORKER_INDEX:-0}} * {local} ))"
    flags = [
        *(["--enable-expert-parallel"] if parallelism.get("expert") else []),
        *tensor(parallelism),
        f"--data-parallel-size {parallelism.get('data') or 1} --data-parallel-size-local {local}",
        "--data-parallel-address ${LWS_LEADER_ADDRESS}",
        f"--data-parallel-rpc-port {parallelism.get('dataRPCPort') or 5555}",
        f"--data-parallel-start-rank {start}",
        *([] if leads else ["--headless"]),
    ]
    return " ".join(flags)


def tensor(parallelism: Mapping[str, Any]) -> list[str]:
    """The flag of tensor parallelism, where it is asked for."""
    size = parallelism.get("tensor")
    return [f"--tensor-parallel-size {size}"] if size else []


def scheduler(service: Service, selector: Mapping[str, str]) -> Object:
    """Pool and picker."""
    reference = {
        "kind": "Service",
        "name": child_name(service.name, PICKER),
        "port": {"number": 9002},
        "failureMode": "FailOpen",
    }
    spec = {
        "endpointPickerRef": reference,
        "selector": {"matchLabels": dict(selector)},
        "targetPorts": [{"number": 8000}],
    }
    ports = {"grpc": 9002, "grpc-health": 9003, "metrics": 9090, "zmq": 5557}
    main = {
        "name": "main",
        "image": _PICKER_IMAGE,
        "command": [
            *("/app/epp", "--pool-name", child_name(service.name, POOL), "--pool-namespace"),
            *(service.namespace, "--zap-encoder", "json", "--grpc-port", "9002"),
            *("--grpc-health-port", "9003"),
        ],
        "ports": [{"name": name, "containerPort": number} for name, number in ports.items()],
    }
    return {"pool": {"spec": spec}, "template": {"containers": [main]}}


def tokenizer() -> Object:
    """The pod that renders prompts to tokens."""
    main = {
        "name": "main",
        "image": _TOKENIZER_IMAGE,
        "command": ["/bin/bash", "-c", "exec vllm launch render /mnt/models/base --port=8000"],
        "ports": [{"name": "render-http", "containerPort": 8000}],
    }
    return {"template": {"containers": [main]}}


def route(service: Service, adapters: list[str]) -> Object:
    """The route of its paths; requests that name the model in a header need no path of their own."""
    pool = {
        "group": "inference.networking.k8s.io",
        "kind": "InferencePool",
        "name": child_name(service.name, POOL),
        "port": 8000,
        "weight": 1,
    }
    pods = {"kind": "Service", "name": child_name(service.name, SERVICE), "port": 8000, "weight": 1}
    own, published = f"/{service.namespace}/{service.name}", f"/{service.published}"
    models = [service.published, *(f"publishers/{service.namespace}/models/{name}" for name in adapters)]
    named = [{"headers": [{"type": "Exact", "name": HEADER, "value": model}]} for model in models]
    apis = [f"/v1/{api}{end}" for api in _APIS for end in ("", "/")]
    exact = [{"path": {"type": "Exact", "value": path}, **match} for path in apis for match in named]
    rules = [
        *(_rule(pool, f"{own}/v1/{api}", f"/v1/{api}") for api in _APIS),
        {"backendRefs": [pool], "matches": exact},
        *(_rule(pool, f"{published}/v1/{api}", f"/v1/{api}") for api in _APIS),
        _rule(pods, published, "/"),
        _rule(pods, own, "/"),
        {"backendRefs": [pods], "matches": named},
    ]
    for rule in rules:
        rule["timeouts"] = {"request": "0s", "backendRequest": "0s"}
    gateway = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": "kserve-ingress-gateway",
        "namespace": "kserve",
    }
    return {"http": {"spec": {"parentRefs": [gateway], "rules": rules}}}


def _rule(backend: Object, prefix: str, replacement: str) -> Object:
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}
    return {
        "backendRefs": [backend],
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": {"path": path}}],
    }


def picker_config(*, apart: bool, adapters: bool) -> str:
    """The picker's configuration where the service has none: prefill and decode apart, or one profile."""
    lora = [("lora-affinity-scorer", 4)] if adapters else []
    if not apart:
        weights = (("queue-scorer", 2), ("kv-cache-utilization-scorer", 2), ("prefix-cache-scorer", 3))
        profile = [*lora, *weights, ("no-hit-lru-scorer", 2), ("max-score-picker", 0)]
        return _config(["single-profile-handler"], {"default": profile})
    prefill = [("prefill-filter", 0), *lora, ("prefix-cache-scorer", 3), ("queue-scorer", 2)]
    decoding = [("decode-filter", 0), *lora, ("active-request-scorer", 2), ("prefix-cache-scorer", 3)]
    profiles = {
        "prefill": [*prefill, ("kv-cache-utilization-scorer", 2), ("max-score-picker", 0)],
        "decode": [*decoding, ("max-score-picker", 0)],
    }
    decider = "always-disagg-pd-decider"
    text = _config(["disagg-headers-handler", decider, "disagg-profile-handler"], profiles)
    handler = "- type: disagg-profile-handler\n"
    return text.replace(handler, f"{handler}  parameters:\n    deciders:\n      prefill: {decider}\n")


def _config(handlers: list[str], profiles: Mapping[str, list[tuple[str, int]]]) -> str:
    used = dict.fromkeys(name for refs in profiles.values() for name, _ in refs)
    lines = ["apiVersion: llm-d.ai/v1alpha1", "kind: EndpointPickerConfig", "plugins:"]
    lines += [f"- type: {name}" for name in (*handlers, *used)]
    lines.append("schedulingProfiles:")
    for profile, refs in profiles.items():
        lines += [f"- name: {profile}", "  plugins:"]
        for name, weight in refs:
            lines += [f"  - pluginRef: {name}", *([f"    weight: {weight}"] if weight else [])]
    return "\n".join(lines) + "\n"
