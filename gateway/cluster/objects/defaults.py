"""What kube-apiserver fills into its own kinds (SetDefaults_* in pkg/apis/*/v1/defaults.go)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FILE_MODE = 0o644  # of files in volumes


def fill_builtin(obj: Object) -> None:
    """Defaults of `obj`, by its kind."""
    fill = _BY_KIND.get(obj["kind"])
    if fill is not None:
        fill(obj)


def _put(target: Object, **values: Any) -> None:
    for name, value in values.items():
        if target.get(name) is None:
            target[name] = value


def _pod_spec(spec: Object) -> None:
    _put(
        spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst",
        securityContext={}, schedulerName="default-scheduler",
    )  # fmt: skip
    if account := spec.get("serviceAccountName"):
        _put(spec, serviceAccount=account)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def _container(container: Object) -> None:
    image = str(container.get("image", ""))
    latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    _put(
        container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File",
        imagePullPolicy="Always" if latest and "@" not in image else "IfNotPresent", resources={},
    )  # fmt: skip
    for port in container.get("ports", ()):
        _put(port, protocol="TCP")
    for variable in container.get("env", ()):
        source = variable.get("valueFrom")
        if isinstance(source, dict) and isinstance(ref := source.get("fieldRef"), dict):
            _put(ref, apiVersion="v1")
    resources = container["resources"]
    if limits := resources.get("limits"):
        resources["requests"] = {**limits, **resources.get("requests", {})}
    for name in _PROBES:
        if isinstance(probe := container.get(name), dict):
            _probe(probe)


def _probe(probe: Object) -> None:
    _put(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if isinstance(http := probe.get("httpGet"), dict):
        _put(http, path="/", scheme="HTTP")
    if isinstance(grpc := probe.get("grpc"), dict):
        _put(grpc, service="")


def _volume(volume: Object) -> None:
    for name in ("configMap", "secret", "projected"):
        if isinstance(source := volume.get(name), dict):
            _put(source, defaultMode=_FILE_MODE)
    if len(volume) == 1:
        volume["emptyDir"] = {}


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _pod_spec(spec)
    _put(spec, enableServiceLinks=True, serviceAccountName="default")
    _put(spec, serviceAccount=spec["serviceAccountName"], preemptionPolicy="PreemptLowerPriority", priority=0)
    _put(obj, status={"phase": "Pending", "qosClass": _quality(spec)})


def _quality(spec: Object) -> str:
    wanted = [c.get("resources", {}) for c in spec.get("containers", ())]
    if not any(r.get("limits") or r.get("requests") for r in wanted):
        return "BestEffort"
    full = all({"cpu", "memory"} <= r.get("limits", {}).keys() for r in wanted)
    return "Guaranteed" if full and all(r.get("limits") == r.get("requests") for r in wanted) else "Burstable"


def _template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    _put(template, metadata={})
    _put(template["metadata"], creationTimestamp=None)
    _pod_spec(template.setdefault("spec", {}))


def _deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(
        spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600,
        strategy={"type": "RollingUpdate"},
    )  # fmt: skip
    strategy = spec["strategy"]
    _put(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _put(strategy, rollingUpdate={})
        _put(strategy["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)
    _put(obj, status={})


def _replica_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(spec, replicas=1)
    _template(spec)
    _put(obj, status={"replicas": 0})


def _stateful_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(
        spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10,
        updateStrategy={"type": "RollingUpdate"},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"},
    )  # fmt: skip
    if spec["updateStrategy"].get("type") == "RollingUpdate":
        _put(spec["updateStrategy"], rollingUpdate={"partition": 0})
    _template(spec)
    _put(obj, status={"replicas": 0, "availableReplicas": 0})


def _daemon_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(spec, revisionHistoryLimit=10, updateStrategy={"type": "RollingUpdate"})
    if spec["updateStrategy"].get("type") == "RollingUpdate":
        _put(spec["updateStrategy"], rollingUpdate={"maxSurge": 0, "maxUnavailable": 1})
    _template(spec)
    _put(obj, status={})


def _job(obj: Object) -> None:
    """With the selector and the labels that the server makes of its uid and name."""
    spec, meta = obj.setdefault("spec", {}), obj["metadata"]
    if not spec.get("manualSelector") and "uid" in meta:
        labels = {"batch.kubernetes.io/controller-uid": meta["uid"], "controller-uid": meta["uid"],
                  "batch.kubernetes.io/job-name": meta.get("name"), "job-name": meta.get("name")}  # fmt: skip
        inner = spec.setdefault("template", {}).setdefault("metadata", {})
        inner["labels"] = {**(inner.get("labels") or {}), **labels}
        _put(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}})
    _job_spec(spec)
    _put(obj, status={})


def _job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _put(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False,
         podReplacementPolicy="TerminatingOrFailed")  # fmt: skip
    _template(spec)


def _cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(
        spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1
    )
    template = spec.setdefault("jobTemplate", {})
    _put(template, metadata={"creationTimestamp": None})
    _template(template.setdefault("spec", {}))
    _put(obj, status={})


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] == "ExternalName":
        return
    _put(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack", internalTrafficPolicy="Cluster")
    for port in spec.get("ports", ()):
        _put(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] in {"LoadBalancer", "NodePort"}:
        _put(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _put(spec, allocateLoadBalancerNodePorts=True)
    _put(obj, status={"loadBalancer": {}})


def _namespace(obj: Object) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    _put(obj.setdefault("spec", {}), finalizers=["kubernetes"])
    _put(obj, status={"phase": "Active"})


def _secret(obj: Object) -> None:
    _put(obj, type="Opaque")
    if plain := obj.pop("stringData", None):
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        obj["data"] = {**obj.get("data", {}), **encoded}


def _binding(obj: Object) -> None:
    for subject in obj.get("subjects", ()):
        if subject.get("kind") in {"User", "Group"}:
            _put(subject, apiGroup="rbac.authorization.k8s.io")
    if isinstance(role := obj.get("roleRef"), dict):
        _put(role, apiGroup="rbac.authorization.k8s.io")


def _crd(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _put(spec, conversion={"strategy": "None"})
    names = spec.setdefault("names", {})
    kind = str(names.get("kind", ""))
    _put(names, singular=kind.lower(), listKind=f"{kind}List")
    _put(obj, status={})


def _autoscaler(obj: Object) -> None:
    _put(obj.setdefault("spec", {}), minReplicas=1)
    _put(obj, status={})


def _limit(obj: Object) -> None:
    _put(obj, status={})


_BY_KIND: dict[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "Namespace": _namespace,
    "Secret": _secret,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "CustomResourceDefinition": _crd,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _limit,
}
