"""Rules about flags and variables that once did something."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.lint.finding import Finding, find
from gateway.manifests.load import Manifests

ISTIOD = {
    "SUPPORT_GATEWAY_API_INFERENCE_EXTENSION": "ENABLE_GATEWAY_API_INFERENCE_EXTENSION, since 1.27.0",
}
PICKER = {
    "ENABLE_EXPERIMENTAL_DATALAYER_V2": "the feature gate dataLayer of EndpointPickerConfig",
    "ENABLE_EXPERIMENTAL_FLOW_CONTROL_LAYER": "the feature gate flowControl of EndpointPickerConfig",
    "SD_QUEUE_DEPTH_THRESHOLD": "saturationDetector of EndpointPickerConfig",
    "SD_KV_CACHE_UTIL_THRESHOLD": "saturationDetector of EndpointPickerConfig",
    "SD_METRICS_STALENESS_THRESHOLD": "saturationDetector of EndpointPickerConfig",
}


def check(manifests: Manifests) -> Iterator[Finding]:
    for workload in manifests.workloads:
        for container in workload.containers:
            for i, variable in enumerate(container.env):
                instead = (ISTIOD | PICKER).get(variable.name)
                if instead is not None:
                    yield find(
                        "dead-flag",
                        container.root,
                        f"{workload} sets {variable.name}",
                        "it has no effect in released versions, or is deprecated",
                        f"instead: {instead}",
                        "env",
                        i,
                    )
