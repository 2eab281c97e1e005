"""Names: namespace, prefixes, suffixes and hashes, and the references that follow them.

Only the references of Kubernetes' own kinds are followed, as by kustomize: an HTTPRoute's backendRefs and an
InferencePool's picker keep the names that they give.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.manifests.kustomize.generate import name_suffix
from gateway.manifests.kustomize.objects import UNSCOPED, Built
from kit.yamldoc import Cursor

# Kinds whose names take no prefix and no suffix.
_KEPT = {"Namespace", "CustomResourceDefinition", "APIService"}
# Kind -> the way to its pod template.
TEMPLATES = {
    **dict.fromkeys(("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job"), ("spec", "template")),
    "ReplicationController": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_CONTAINERS = ("containers", "initContainers")
_IN_PODS = {
    "ConfigMap": [
        "volumes/configMap/name",
        "volumes/projected/sources/configMap/name",
        *(f"{c}/env/valueFrom/configMapKeyRef/name" for c in _CONTAINERS),
        *(f"{c}/envFrom/configMapRef/name" for c in _CONTAINERS),
    ],
    "Secret": [
        "volumes/secret/secretName",
        "volumes/projected/sources/secret/name",
        "imagePullSecrets/name",
        *(f"{c}/env/valueFrom/secretKeyRef/name" for c in _CONTAINERS),
        *(f"{c}/envFrom/secretRef/name" for c in _CONTAINERS),
    ],
    "ServiceAccount": ["serviceAccountName"],
    "PersistentVolumeClaim": ["volumes/persistentVolumeClaim/claimName"],
    "PriorityClass": ["priorityClassName"],
}
_ELSEWHERE = {
    ("StatefulSet", "Service"): ["spec/serviceName"],
    ("HorizontalPodAutoscaler", "Deployment"): ["spec/scaleTargetRef/name"],
    ("HorizontalPodAutoscaler", "StatefulSet"): ["spec/scaleTargetRef/name"],
    ("RoleBinding", "Role"): ["roleRef/name"],
    ("RoleBinding", "ClusterRole"): ["roleRef/name"],
    ("ClusterRoleBinding", "ClusterRole"): ["roleRef/name"],
    ("ServiceAccount", "Secret"): ["imagePullSecrets/name", "secrets/name"],
    ("Role", "ConfigMap"): ["rules/resourceNames"],
    ("ClusterRole", "ConfigMap"): ["rules/resourceNames"],
    ("Role", "Secret"): ["rules/resourceNames"],
    ("ClusterRole", "Secret"): ["rules/resourceNames"],
}
Place = tuple[Any, Any]  # a mapping or list, and the key of a value in it


def set_namespace(spec: Cursor, objects: list[Built]) -> None:
    namespace = spec.text("namespace", "")
    for built in objects if namespace else ():
        built.remember()
        if built.kind == "Namespace":
            built.meta["name"] = namespace
        elif built.kind not in UNSCOPED:
            built.meta["namespace"] = namespace
        for subject in _subjects(built):
            if subject.get("name") == "default":
                subject["namespace"] = namespace


def add_affixes(spec: Cursor, objects: list[Built]) -> None:
    prefix, suffix = spec.text("namePrefix", ""), spec.text("nameSuffix", "")
    for built in objects if prefix or suffix else ():
        if built.kind not in _KEPT:
            built.remember()
            built.affixes += [f"{prefix}-", f"-{suffix}"]
            built.meta["name"] = prefix + built.name + suffix


def finish(objects: list[Built]) -> None:
    """The names at their end: hashes are added, and references follow every change."""
    for built in objects:
        if built.hashed:
            suffix = name_suffix(built)
            built.remember()
            built.meta["name"] = f"{built.name}-{suffix}"
    renamed = [built for built in objects if built.past]
    for built in objects:
        for target, (holder, key) in _references(built):
            _follow(built, target, holder, key, renamed)
        for subject in _subjects(built):
            _follow_subject(subject, renamed)


def places(value: Any, way: list[str]) -> Iterator[Place]:
    """Where `way` ends in `value`, lists gone through."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            if way:
                yield from places(item, way)
            elif isinstance(item, str):
                yield value, i
    elif isinstance(value, dict) and way and way[0] in value:
        if len(way) == 1 and not isinstance(value[way[0]], list):
            yield value, way[0]
        else:
            yield from places(value[way[0]], way[1:])


def _references(built: Built) -> Iterator[tuple[str, Place]]:
    """(kind, place of the name) of every reference of an object."""
    template = TEMPLATES.get(built.kind)
    pod = ["spec"] if built.kind == "Pod" else [*template, "spec"] if template else None
    for target, ways in _IN_PODS.items() if pod else ():
        for way in ways:
            yield from ((target, place) for place in places(built.data, [*(pod or ()), *way.split("/")]))
    for (kind, target), ways in _ELSEWHERE.items():
        if kind == built.kind:
            for way in ways:
                yield from ((target, place) for place in places(built.data, way.split("/")))


def _follow(referrer: Built, target: str, holder: Any, key: Any, renamed: list[Built]) -> None:
    """The name at `holder[key]` becomes that of the object of kind `target` that had it."""
    if isinstance(holder, dict) and key == "name" and holder.get("kind", target) != target:
        return  # a roleRef or scaleTargetRef says itself what it names
    names = {built.name for built in _candidates(referrer, target, holder[key], renamed)}
    if len(names) > 1:
        could_be = " or ".join(sorted(names))
        raise referrer.document.cursor().error(
            f"{referrer.kind} {referrer.name} refers to {target} {holder[key]}, which could be {could_be}"
        )
    if names:
        holder[key] = names.pop()


def _candidates(referrer: Built, target: str, old: Any, renamed: list[Built]) -> list[Built]:
    """Who had the name `old`; of several those that the same kustomizations renamed."""
    found = [
        built
        for built in renamed
        if built.kind == target
        and built.namespace in {"", referrer.namespace}
        and any(name == old for _, name in built.names)
    ]
    alike = [built for built in found if built.affixes[: len(referrer.affixes)] == referrer.affixes]
    return alike or found


def _subjects(built: Built) -> list[dict[str, Any]]:
    if built.kind not in {"RoleBinding", "ClusterRoleBinding"}:
        return []
    subjects = built.data.get("subjects")
    return [s for s in subjects if isinstance(s, dict)] if isinstance(subjects, list) else []


def _follow_subject(subject: dict[str, Any], renamed: list[Built]) -> None:
    """A subject names its account's namespace, too: both follow. kustomize looks at no subject's kind."""
    wanted = str(subject.get("namespace") or "")
    for built in renamed:
        called = [name for space, name in built.names if wanted in {"", space}]
        if built.kind == "ServiceAccount" and subject.get("name") in called:
            subject["name"] = built.name
            if "namespace" in built.meta:
                subject["namespace"] = built.meta["namespace"]
            return
