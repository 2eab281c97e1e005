"""A small stack and small plans for simulations: pods with constant times, so that every moment is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gateway.manifests.load import load
from gateway.simulate.feed import Feed, feed_of_plan
from gateway.simulate.picking import PickerChoice
from gateway.simulate.simulation import Result, Setting, Simulation
from gateway.stack.plan import Plan, make_plan
from loadgen.plan.plan import ClassPlan, PlanHeader, PlanLine, PlannedRequest, write_plan

# 100 ms to the first token, 10 ms to each further one, whatever the load.
TIMED = ("--time-to-first-token", "100ms", "--inter-token-latency", "10ms", "--seed", "1")
PAGE = """apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
"""
ROUND_ROBIN = """apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: round-robin-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: round-robin-picker}
"""


def manifests(
    folder: Path, *, replicas: int = 2, args: Sequence[str] = TIMED, config: str = ROUND_ROBIN, more: str = ""
) -> Path:
    """A file with a Deployment, its pool, a picker and the picker's configuration."""
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "server"},
            "spec": {
                "replicas": replicas,
                "template": {
                    "metadata": {"labels": {"app": "server"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "vllm",
                                "image": "vllm/vllm-openai:v0.33.0",
                                "args": ["--model", "m", "--port", "8000", *args],
                                "ports": [{"containerPort": 8000}],
                                "env": [
                                    {
                                        "name": "POD_NAME",
                                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                                    }
                                ],
                            }
                        ]
                    },
                },
            },
        },
        {
            "apiVersion": "inference.networking.k8s.io/v1",
            "kind": "InferencePool",
            "metadata": {"name": "pool"},
            "spec": {
                "selector": {"matchLabels": {"app": "server"}},
                "targetPorts": [{"number": 8000}],
                "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "epp"},
            "spec": {"selector": {"app": "epp"}, "ports": [{"port": 9002, "targetPort": 9002}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "epp"},
            "spec": {
                "template": {
                    "metadata": {"labels": {"app": "epp"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "epp",
                                "image": "epp",
                                "args": [
                                    "--pool-name",
                                    "pool",
                                    "--pool-namespace",
                                    "default",
                                    "--config-text",
                                    config,
                                ],
                                "ports": [{"containerPort": 9002}],
                            }
                        ]
                    },
                }
            },
        },
    ]
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(documents) + more)
    return file


def stack(folder: Path, **given: Any) -> Plan:
    """The plan of `manifests`."""
    return make_plan(load([str(manifests(folder, **given))], "default"))


def request(
    number: int, at: float | None, *, tokens: int = 3, prompt: str = "hello", **more: Any
) -> PlannedRequest:
    """A completion of exactly `tokens` tokens."""
    body = f'{{"model":"m","prompt":"{prompt}","max_tokens":{tokens},"ignore_eos":true,"stream":true}}'
    settings: dict[str, Any] = {"slot": number, "id": f"r{number}", "cls": "c", "model": "m", "body": [body]}
    return PlannedRequest(at=at, max_tokens=tokens, **(settings | more))


def feed(folder: Path, requests: Sequence[PlanLine], **plan: Any) -> Feed:
    """A plan of one class, written and read."""
    file = folder / "plan.jsonl"
    last = max((line.at or 0.0 for line in requests if isinstance(line, PlannedRequest)), default=0.0)
    write_plan(file, [PlanHeader(scenario="small", span=last, classes={"c": ClassPlan(**plan)}), *requests])
    return feed_of_plan(file)


def simulated(plan: Plan, what: Feed, *, delay: float = 0.0, **setting: Any) -> Result:
    """The result of one simulation, with a gateway that takes `delay` seconds."""
    setting.setdefault("picker", PickerChoice())
    return Simulation(plan, what, Setting(gateway_delay=delay, **setting)).run()
