"""A cluster's objects as YAML files: those to begin with, and those that are kept in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.kinds import EVENT, NAMESPACE, NODE, Served
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Write
from gateway.cluster.standins import STANDIN
from gateway.errors import ManifestError, UsageError
from gateway.kubeapi.store import Change
from gateway.manifests.load import documents_of
from kit.yamldoc import Document

Object = dict[str, Any]
_FIRST = ("CustomResourceDefinition", "Namespace")
_MADE_HERE = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
_WRITE = Write("simfleet", "Strict")


def load_files(state: State, sources: Sequence[str]) -> None:
    """Create what files, directories and `-` hold, as `kubectl create -f`. Raises ManifestError."""
    found = [d for source in sources for d in documents_of(source)]
    for document in sorted(found, key=lambda d: _order(d.data)):
        _create(state, document)


def _order(obj: Any) -> int:
    kind = obj.get("kind") if isinstance(obj, dict) else None
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _create(state: State, document: Document) -> None:
    obj = document.data
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise ManifestError("is no Kubernetes object", document.file, document.line)
    served = state.registry.of_type(str(obj.get("apiVersion")), str(obj.get("kind")))
    if served is None:
        words = f"no matches for kind {obj.get('kind')!r} in version {obj.get('apiVersion')!r}"
        raise ManifestError(words, document.file, document.line)
    namespace = _namespace(state, served, obj)
    try:
        if served.kind.namespaced or state.get(served.kind, "", obj["metadata"].get("name", "")) is None:
            state.create(served, namespace, obj, _WRITE)
        else:  # a stand-in gives way to the published CRD, a namespace may stand already
            state.update(served, "", obj["metadata"]["name"], obj, _WRITE)
    except ApiError as error:
        raise ManifestError(str(error), document.file, document.line) from None


def _namespace(state: State, served: Served, obj: Object) -> str:
    if not served.kind.namespaced:
        return ""
    name = str(obj["metadata"].get("namespace") or "default")
    if state.get(NAMESPACE, "", name) is None:  # files name namespaces that they do not bring
        state.create(state.served("v1", "Namespace"), "", {"metadata": {"name": name}})
    return name


# a folder of them


def load_saved(state: State, folder: Path | None) -> None:
    """What an earlier cluster kept in `folder`. Raises ManifestError, UsageError."""
    if folder is None or not folder.is_dir():
        return
    files = sorted(str(p) for p in folder.rglob("*.yaml"))
    found = [d for file in files for d in documents_of(file)]
    for document in sorted(found, key=lambda d: _order(d.data)):
        _create(state, document)


class Saved:
    """Keeps every object that somebody has written as a file of its own: FOLDER/NAMESPACE/KIND.NAME.yaml.

    What controllers make (pods, endpoints, events) is made again, so it is not kept.
    """

    def __init__(self, state: State, folder: Path | None) -> None:
        self._folder = folder
        self._stop = state.store.listen(self._on_change) if folder else None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--save {folder}: {error.strerror}") from error
            for served in state.registry:
                for obj in state.list(served.kind):
                    self._write(obj)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()

    def _on_change(self, change: Change) -> None:
        if change.kind in (EVENT, NODE):
            return
        if change.type == "DELETED":
            self._path(change.object).unlink(missing_ok=True)
        elif change.before is None or _kept(change.before) != _kept(change.object):
            self._write(change.object)

    def _write(self, obj: Object) -> None:
        if _is_made(obj):
            return
        path = self._path(obj)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.tmp")
        scratch.write_text(yaml.safe_dump(_kept(obj), sort_keys=False), encoding="utf-8")
        os.replace(scratch, path)

    def _path(self, obj: Object) -> Path:
        assert self._folder is not None
        meta = obj["metadata"]
        group = obj["apiVersion"].rpartition("/")[0]
        kind = f"{obj['kind'].lower()}.{group}" if group else obj["kind"].lower()
        home = self._folder / str(meta.get("namespace", "_cluster"))
        return home / f"{kind}.{meta['name']}.yaml"


def _is_made(obj: Object) -> bool:
    meta = obj["metadata"]
    if (
        meta.get("ownerReferences")
        or meta.get("annotations", {}).get(STANDIN)
        or obj["kind"] in {"Event", "Node"}
    ):
        return True
    if (obj["kind"], meta.get("name")) == ("ConfigMap", "kube-root-ca.crt"):
        return True
    if (obj["kind"], meta.get("name"), meta.get("namespace")) == ("Service", "kubernetes", "default"):
        return True
    if obj["kind"] == "GatewayClass" and str(meta.get("name")).startswith("istio"):
        return True
    return (obj["kind"], meta.get("name")) == ("ServiceAccount", "default")


def _kept(obj: Object) -> Object:
    meta = {k: v for k, v in obj["metadata"].items() if k not in _MADE_HERE}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta} | {
        k: v for k, v in obj.items() if k not in {"metadata", "status", "apiVersion", "kind"}
    }
