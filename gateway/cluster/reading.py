"""A cluster's objects as manifests: what a plan is made of, and whether a change of an object changes it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from gateway.autoscale.hpa import read_hpa
from gateway.cluster.controllers.common import ending
from gateway.cluster.objects.kinds import NAMESPACE
from gateway.cluster.objects.state import State
from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, read
from kit.errors import DocumentError
from kit.yamldoc import Document

Object = dict[str, Any]

# What a stack is made of; other kinds are kept and run nothing.
READ = (
    "Namespace", "ConfigMap", "Secret", "Service", "Deployment", "StatefulSet", "DaemonSet", "Job",
    "Pod", "Gateway", "HTTPRoute", "GRPCRoute", "ReferenceGrant", "InferencePool", "InferenceObjective",
    "InferenceModelRewrite", "DestinationRule", "AuthorizationPolicy",
    "HorizontalPodAutoscaler",
)  # fmt: skip
_META = ("name", "namespace", "labels", "annotations")


def manifests_of(state: State, classes: set[str]) -> tuple[Manifests, dict[str, str]]:
    """The objects as manifests, those that cannot be read left out: why, by object.

    Gateways of classes that are not ours belong to somebody else.
    """
    documents, problems = [], {}
    for obj in _objects(state):
        if obj["kind"] == "Gateway" and obj.get("spec", {}).get("gatewayClassName") not in classes:
            continue
        document = _document(obj)
        try:
            for resource in read([document]).of_kind("HorizontalPodAutoscaler"):
                read_hpa(resource)  # read anew by every plan
        except DocumentError as error:
            problems[document.file] = str(error)
        else:
            documents.append(document)
    return read(documents), problems


def _objects(state: State) -> Iterator[Object]:
    for name in READ:
        for obj in state.of(name):
            home = obj["metadata"].get("namespace")
            namespace = state.get(NAMESPACE, "", home) if home else None
            if not ending(obj) and not (namespace and ending(namespace)) and not is_made(obj):
                yield obj


def is_made(obj: Object) -> bool:
    """Whether it is a Pod that stands for what runs already, rather than one that is asked for."""
    return obj["kind"] == "Pod" and bool(obj["metadata"].get("ownerReferences"))


def _document(obj: Object) -> Document:
    meta = {k: v for k, v in obj["metadata"].items() if k in _META}
    bare = {k: v for k, v in obj.items() if k not in {"metadata", "status"}} | {"metadata": meta}
    place = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return Document(f"{obj['kind']} {place}{meta['name']}", 1, copy.deepcopy(bare), ManifestError)


def differs(old: Object | None, new: Object | None) -> bool:
    """Whether two states of an object differ in what a plan is made of."""
    if old is None or new is None:
        return True
    return _plain(old) != _plain(new)


def _plain(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {k: meta.get(k) for k in ("labels", "annotations", "deletionTimestamp", "uid")}
    notes = dict(kept["annotations"] or {})
    notes.pop("deployment.kubernetes.io/revision", None)
    return {k: v for k, v in obj.items() if k not in {"metadata", "status"}} | {
        "metadata": {**kept, "annotations": notes}
    }
