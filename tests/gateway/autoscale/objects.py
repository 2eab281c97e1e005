"""HPAs for tests."""

from __future__ import annotations

import io
from typing import Any

from gateway.autoscale.hpa import Hpa, read_hpa
from gateway.manifests.load import load
from tests.e2e import worlds

Json = dict[str, Any]


def pods_metric(target: str = "2", name: str = "vllm:num_requests_waiting", **more: Any) -> Json:
    metric = {"name": name, **more}
    return {
        "type": "Pods",
        "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": target}},
    }


def external(name: str = "queue", **target: str) -> Json:
    return {"type": "External", "external": {"metric": {"name": name}, "target": {"type": "x", **target}}}


def hpa_object(*metrics: Json, least: int = 1, most: int = 10, **spec: Any) -> Json:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": worlds.meta("hpa"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": list(metrics),
            **spec,
        },
    }


def hpa(*metrics: Json, **spec: Any) -> Hpa:
    written = worlds.dump(hpa_object(*(metrics or (pods_metric(),)), **spec))
    return read_hpa(load(["-"], "apps", io.StringIO(written)).resources[0])
