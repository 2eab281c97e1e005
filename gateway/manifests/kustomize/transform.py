"""Labels, annotations, images and replicas of a kustomization."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.manifests.kustomize.names import TEMPLATES, places
from gateway.manifests.kustomize.objects import Built
from kit.yamldoc import Cursor

_SCALED = {"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"}
_SELECTING = {"Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"}
# Selectors inside a pod's spec, which take the labels where they stand already.
_IN_PODS = [
    "topologySpreadConstraints/labelSelector/matchLabels",
    *(
        f"affinity/{kind}/{when}"
        for kind in ("podAffinity", "podAntiAffinity")
        for when in (
            "preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
            "requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
        )
    ),
]
_REST = {
    "Job": ["spec/selector/matchLabels"],
    "CronJob": ["spec/jobTemplate/spec/selector/matchLabels"],
    "PodDisruptionBudget": ["spec/selector/matchLabels"],
    "NetworkPolicy": [
        "spec/podSelector/matchLabels",
        "spec/ingress/from/podSelector/matchLabels",
        "spec/egress/to/podSelector/matchLabels",
    ],
}


def transform(spec: Cursor, objects: list[Built]) -> None:
    """Labels, annotations, replicas and images, in kustomize's order."""
    for entry in spec.items("labels"):
        selectors = entry.flag("includeSelectors", False)
        templates = entry.flag("includeTemplates", False) or selectors
        for built in objects:
            _label(built, entry.string_map("pairs"), selectors=selectors, templates=templates)
    for built in objects:
        _label(built, spec.string_map("commonLabels"), selectors=True, templates=True)
        _annotate(built, spec.string_map("commonAnnotations"))
    for entry in spec.items("replicas"):
        _scale(entry, objects)
    for entry in spec.items("images"):
        for built in objects:
            _set_images(built.data, entry)


def _into(data: dict[str, Any], way: tuple[str, ...], pairs: dict[str, str]) -> None:
    """Add `pairs` to the mapping at `way`, which is made where it is missing."""
    for key in way:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data.update(pairs)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _label(built: Built, pairs: dict[str, str], *, selectors: bool, templates: bool) -> None:
    if not pairs:
        return
    _into(built.data, ("metadata", "labels"), pairs)
    if templates:
        _label_templates(built, pairs)
    if selectors:
        _label_selectors(built, pairs)


def _label_templates(built: Built, pairs: dict[str, str]) -> None:
    data, way = built.data, TEMPLATES.get(built.kind)
    if way is None:
        return
    _into(data, (*way, "metadata", "labels"), pairs)
    if built.kind == "CronJob":
        _into(data, ("spec", "jobTemplate", "metadata", "labels"), pairs)
    claims = data["spec"].get("volumeClaimTemplates") if built.kind == "StatefulSet" else None
    for claim in filter(_is_mapping, claims if isinstance(claims, list) else ()):
        _into(claim, ("metadata", "labels"), pairs)


def _label_selectors(built: Built, pairs: dict[str, str]) -> None:
    data, kind = built.data, built.kind
    if kind in {"Service", "ReplicationController"}:
        _into(data, ("spec", "selector"), pairs)
    elif kind in _SELECTING:
        _into(data, ("spec", "selector", "matchLabels"), pairs)
    in_pods = [f"spec/template/spec/{way}" for way in _IN_PODS] if kind in _SELECTING else []
    for way_there in [*in_pods, *_REST.get(kind, ())]:
        for holder, key in places(data, way_there.split("/")):
            if isinstance(holder, dict):
                _into(holder, (key,), pairs)


def _annotate(built: Built, pairs: dict[str, str]) -> None:
    if pairs:
        _into(built.data, ("metadata", "annotations"), pairs)
        if way := TEMPLATES.get(built.kind):
            _into(built.data, (*way, "metadata", "annotations"), pairs)
            if built.kind == "CronJob":
                _into(built.data, ("spec", "jobTemplate", "metadata", "annotations"), pairs)


def _scale(entry: Cursor, objects: list[Built]) -> None:
    name, count = entry.text("name"), entry.number("count")
    found = [o for o in objects if o.kind in _SCALED and any(n == name for _, n in o.names)]
    if not found:
        raise entry.error(f"there is no {', '.join(sorted(_SCALED))} called {name}", "name")
    for built in found:
        _into(built.data, ("spec",), {})
        built.data["spec"]["replicas"] = count


def _set_images(value: Any, entry: Cursor) -> None:
    """Every image of that name in any list of containers or initContainers, wherever it stands."""
    for container in _containers(value):
        image = container.get("image")
        pattern = re.escape(entry.text("name")) + r"(?P<tag>:[\w.{}-]*)?(?P<digest>@sha256:[\w.{}-]*)?"
        if isinstance(image, str) and (found := re.fullmatch(pattern, image)):
            container["image"] = _image(entry, found["tag"] or "", found["digest"] or "")


def _image(entry: Cursor, tag: str, digest: str) -> str:
    new_tag, new_digest = entry.text("newTag", ""), entry.text("digest", "")
    if new_tag or new_digest:
        tag = f":{new_tag}" if new_tag else ""
        digest = f"@{new_digest}" if new_digest else ""
    return (entry.text("newName", "") or entry.text("name")) + tag + digest


def _containers(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _containers(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in {"containers", "initContainers"} and isinstance(item, list):
                yield from (each for each in item if isinstance(each, dict))
            yield from _containers(item)
