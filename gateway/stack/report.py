"""What runs, as data: the answer of `simfleet ps --format json`, which the load generator reads, too."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from gateway.envoy.compat import istio
from gateway.envoy.config import listener_ports
from gateway.envoy.example import Example, example
from gateway.manifests.attach import attach, attachments_of
from gateway.stack.pods import Pod

if TYPE_CHECKING:
    from gateway.envoy.process import GatewayProcess
    from gateway.stack.pickerset import PickerHandle
    from gateway.stack.stack import Stack

Json = dict[str, Any]
_KEY_FLAG = "--api-key"


def status(stack: Stack, name: str, started: float) -> Json:
    """Everything about a stack; `started` is wall clock seconds."""
    gateways = [_gateway(stack, g) for g in stack.gateways]
    urls = [g["url"] for g in gateways if g["url"]]
    return {
        "name": name,
        "pid": os.getpid(),
        "started": started,
        "uptime_s": round(time.time() - started, 1),
        "directory": str(stack.options.directory),
        "url": urls[0] if urls else None,
        "gateways": gateways,
        "control_plane": {"kind": "simfleet", "istio": _release(stack)},
        "pools": [_pool(stack, key) for key in stack.plan.manifests.pools],
        "pods": [_pod(stack, pod) for pod in stack.pods],
        "pickers": [_picker(handle) for handle in stack.pickers],
        "notes": stack.plan.notes,
        "not_simulated": [found.as_data for found in stack.plan.unread],
    }


def _release(stack: Stack) -> str:
    """Whose translation Envoy gets."""
    options = stack.options.gateway
    return istio(options.istio_release).name + (" with its bugs" if options.istio_bugs else "")


def _gateway(stack: Stack, process: GatewayProcess) -> Json:
    gateway = process.gateway
    urls = process.urls
    shown = example_request(stack, process)
    return {
        "name": gateway.name,
        "namespace": gateway.namespace,
        "pid": process.process.pid,
        "url": next(iter(urls.values()), None),
        "listeners": [
            {"port": port, "url": urls[port], "hostnames": [x.hostname or "*" for x in listeners]}
            for port, listeners in listener_ports(gateway).items()
        ],
        "admin_url": process.admin_url,
        "access_log": str(process.access_log),
        "curl": shown.command() if shown else None,
    }


def example_request(stack: Stack, process: GatewayProcess) -> Example | None:
    """The request to show for a gateway, at the first of its listeners that has one."""
    results = attach(stack.plan.manifests)
    model = next((pod.models[0] for pod in stack.pods if pod.models), "model")
    behind = {p.server.service.key: p.models[0] for p in stack.pods if p.server.service and p.models}
    for port, url in process.urls.items():
        of_port = [a for a in attachments_of(process.gateway, results) if a.listener.port == port]
        if (found := example(of_port, url, model, behind)) is not None:
            return found
    return None


def _pool(stack: Stack, key: tuple[str, str]) -> Json:
    pool = stack.plan.manifests.pools[key]
    handle = next((h for h in stack.pickers if h.pool is pool or h.plan.pool is pool), None)
    return {
        "name": pool.name,
        "namespace": pool.namespace,
        "host": pool.shadow_host,  # in the name of its cluster
        "target_ports": list(pool.target_ports),
        "failure_mode": pool.picker.failure_mode if pool.picker else None,
        "picker": handle.name if handle else None,
        "endpoints": [f"{e.address}:{e.port}" for e in stack.pods.endpoints(pool)],
    }


def _picker(handle: PickerHandle) -> Json:
    process = handle.process
    return {
        "name": handle.name,
        "namespace": handle.plan.workload.namespace,
        "pool": handle.pool.name if handle.pool else None,
        "kind": process.kind,
        "state": "running" if process.process.is_running else "dead",
        "pid": process.process.pid,
        "grpc": f"127.0.0.1:{process.grpc_port}",
        "tls": process.spec.secure,
        "metrics_url": f"http://127.0.0.1:{process.metrics_port}/metrics",
        "kube_api_url": process.kube_api_url,
        "log": str(process.process.log),
        "decision_log": str(process.decision_log or "") or None,
    }


def _pod(stack: Stack, pod: Pod) -> Json:
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "pool": pod.pool.name if pod.pool else None,
        "workload": pod.server.workload.name,
        "address": pod.address,
        "ports": list(pod.ports),
        "urls": [f"http://{pod.address}:{port}" for port in pod.ports],
        "metrics_urls": [f"http://{pod.address}:{port}/metrics" for port in pod.ports],
        "state": str(pod.state),
        "models": list(pod.models),
        "latency": pod.latency,  # zero: its times say nothing
        "args": arguments_of(pod),
        **_load(stack, pod),
    }


def arguments_of(pod: Pod) -> list[str]:
    """The model server's flags as they came of its container; keys stay in the manifests."""
    shown: list[str] = []
    secret = False
    for word in pod.args:
        if word.startswith("--"):
            secret = word.partition("=")[0].replace("_", "-") == _KEY_FLAG
        if not secret:
            shown.append(word)
    return shown


def _load(stack: Stack, pod: Pod) -> Json:
    """Numbers of the pod's engines, all ranks together; empty for a pod that does not run."""
    replica = stack.replica(pod)
    if replica is None or not pod.is_running:
        return {}
    stats = [rank.engine.stats for rank in replica.peers]
    queries = sum(s.prefix_cache_queries for s in stats)
    adapters = dict.fromkeys(name for s in stats for name in (*s.lora_running, *s.lora_waiting))
    return {
        "running": sum(s.num_requests_running for s in stats),
        "waiting": sum(s.num_requests_waiting for s in stats),
        "kv_cache_usage": round(sum(s.kv_cache_usage for s in stats) / len(stats), 4),
        "prefix_cache_hit_rate": round(sum(s.prefix_cache_hits for s in stats) / queries, 4)
        if queries
        else None,
        "adapters": list(adapters),
        "requests": sum(sum(s.request_success.values()) for s in stats),
        "generated_tokens": sum(s.generation_tokens for s in stats),
    }
