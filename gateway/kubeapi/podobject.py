"""A replica as the Pod that Kubernetes would show for it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.kubeapi.store import Object


def pod(
    name: str,
    namespace: str,
    address: str,
    labels: Mapping[str, str],
    ports: tuple[int, ...],
    *,
    ready: bool = True,
    terminating_since: str | None = None,
    restarts: int = 0,
    image: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A v1 Pod running at `address`; `terminating_since` (RFC 3339) marks one that is being deleted."""
    meta: Object = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if annotations:
        meta["annotations"] = dict(annotations)
    if terminating_since:
        meta["deletionTimestamp"] = terminating_since
    flag = "True" if ready else "False"
    container = {
        "name": "vllm-sim",
        "image": image,
        "ports": [{"containerPort": p, "protocol": "TCP"} for p in ports],
    }
    state = {"name": "vllm-sim", "ready": ready, "started": True, "restartCount": restarts, "image": image}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [container], "nodeName": "localhost"},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "conditions": [{"type": t, "status": flag} for t in ("Ready", "ContainersReady")],
            "containerStatuses": [state],
        },
    }
