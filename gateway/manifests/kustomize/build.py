"""A kustomize directory without kubectl: resources, patches, names, labels, images, replicas, generators.

What this file does not know (helmCharts, components, remote resources, transformers) is an error that names
the field: a build that left it out silently would run something else than the cluster does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.errors import ManifestError
from gateway.manifests.inside import is_inside
from gateway.manifests.patches import apply_json_patch, merge
from gateway.manifests.resources import CLUSTER_SCOPED
from kit.yamldoc import Cursor, Document, load_documents

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KNOWN = {
    *("apiVersion", "kind", "metadata", "resources", "bases", "patches", "patchesStrategicMerge"),
    *("patchesJson6902", "namespace", "namePrefix", "nameSuffix", "commonLabels", "labels"),
    *("commonAnnotations", "images", "replicas", "configMapGenerator", "secretGenerator", "generatorOptions"),
    *("sortOptions", "buildMetadata"),
}


def kustomization_in(directory: Path) -> Path | None:
    """The kustomization file of a directory, None when it is a plain directory."""
    return next((directory / name for name in FILE_NAMES if (directory / name).is_file()), None)


def build(file: Path, roots: tuple[Path, ...] = ()) -> list[Document]:
    """The objects that `kubectl kustomize` would print for this kustomization file.

    `roots`: the directories whose builds lead here. As with kustomize's LoadRestrictionsRootOnly every file
    is in or below the directory of the kustomization that names it, links followed; bases may be elsewhere.
    """
    root = next(load_documents(_contents(file, file.name, ManifestError), str(file)), None)
    if root is None or not isinstance(root.data, dict):
        raise ManifestError("an empty kustomization", str(file))
    spec = root.cursor()
    for field in root.data:
        if field not in _KNOWN:
            raise spec.error(
                "kustomize field that simfleet does not know; render it first: "
                "`kubectl kustomize DIR | simfleet up -f -`",
                field,
            )
    roots = (*roots, file.parent.resolve())
    entries = [*spec.items("resources"), *spec.items("bases")]
    documents = [d for entry in entries for d in _load(file, entry, roots)]
    documents = [deepcopy(d) for d in documents] + _generated(file, spec)
    for patch in _patches(file, spec):
        _apply(patch, documents)
    _rename(spec, documents)
    _transform(spec, documents)
    return documents


def _load(file: Path, entry: Cursor, roots: tuple[Path, ...]) -> Iterator[Document]:
    name = entry.as_str()
    if "://" in name or name.startswith("github.com/"):
        raise entry.error(f"remote resource {name!r} cannot be read offline; fetch it and name the file")
    path = file.parent / name
    if not os.path.isdir(path):  # False, too, for a name that no path can have
        yield from load_documents(_contents(file, name, entry.error), str(path))
        return
    if Path(name).is_absolute():
        raise entry.error(f"the base {name} must be named relative to {file.parent}")
    if visited := next((root for root in roots if root.is_relative_to(path.resolve())), None):
        raise entry.error(f"the base {path} leads back to {visited}, which is being built: a cycle")
    inner = kustomization_in(path)
    if inner is None:
        raise entry.error(f"{path} has no kustomization.yaml")
    yield from build(inner, roots)


def _patches(file: Path, spec: Cursor) -> Iterator[tuple[Cursor, Document, dict[str, Any]]]:
    """(entry, patch, target) of every patch; a strategic patch without target names its object itself."""
    for entry in spec.items("patchesStrategicMerge"):
        text = entry.as_str()
        body = text if "\n" in text else _contents(file, text, entry.error)
        yield from ((entry, d, {}) for d in load_documents(body, entry.file))
    for entry in [*spec.items("patches"), *spec.items("patchesJson6902")]:
        body = entry.text("patch", "") or _contents(file, entry.text("path"), entry.error)
        target = entry.opt("target")
        yield from ((entry, d, target.value if target else {}) for d in load_documents(body, entry.file))


def _contents(file: Path, name: str, error: Callable[[str], ManifestError]) -> str:
    """The text of a file that the kustomization `file` names; `error` makes the error where it may not."""
    path = file.parent / name
    try:
        if not path.is_file():
            raise error(f"{path} does not exist, or is no file")
        if not is_inside(file.parent, path):
            raise error(
                f"{path} is not in or below {file.parent.resolve()}: kustomize reads no file from outside; "
                "make its directory a base, or copy it"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise error(f"{str(path)!r} cannot be read: {problem}") from problem


def _apply(patch: tuple[Cursor, Document, dict[str, Any]], documents: list[Document]) -> None:
    entry, body, target = patch
    is_json = isinstance(body.data, list)
    if not target and is_json:
        raise entry.error("a JSON patch needs a target")
    wanted = target or {
        "kind": body.data.get("kind"),
        "name": "^" + re.escape(str(body.data.get("metadata", {}).get("name"))) + "$",
    }
    hit = [(i, d) for i, d in enumerate(documents) if _is_target(d.data, wanted)]
    if not hit:
        raise entry.error(f"no object matches the patch's target {wanted}")
    for i, document in hit:
        data = (
            apply_json_patch(document, body)
            if is_json
            else _merged(document.data, body.data, named=bool(target))
        )
        if data is None:
            documents[i] = replace(document, data=None)
        else:
            documents[i] = replace(document, data=data)
    documents[:] = [d for d in documents if d.data is not None]


def _merged(data: dict[str, Any], patch: dict[str, Any], *, named: bool) -> Any:
    """`data` with the strategic merge patch; with a target the patch's own name does not rename."""
    if patch.get("$patch") == "delete":
        return None
    if named:
        patch = {k: v for k, v in patch.items() if k not in {"apiVersion", "kind"}}
        meta = {k: v for k, v in (patch.get("metadata") or {}).items() if k != "name"}
        patch["metadata"] = meta
    return merge(data, patch)


def _is_target(data: Any, target: dict[str, Any]) -> bool:
    if not isinstance(data, dict):
        return False
    meta = data.get("metadata") or {}
    group, _, version = str(data.get("apiVersion", "")).rpartition("/")
    facts = {
        "kind": data.get("kind"),
        "name": meta.get("name"),
        "namespace": meta.get("namespace", "default"),
        "group": group,
        "version": version,
    }
    for field, pattern in target.items():
        if field == "labelSelector":
            pairs = (p.split("=", 1) for p in str(pattern).split(","))
            labels = meta.get("labels") or {}
            if any(labels.get(pair[0]) != pair[-1] for pair in pairs):
                return False
        elif field in facts and pattern is not None and not re.fullmatch(str(pattern), str(facts[field])):
            return False
    return True


def _generated(file: Path, spec: Cursor) -> list[Document]:
    """ConfigMaps and Secrets of the generators, without the hash suffix: nothing is updated in place here."""
    made = []
    for field, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
        for entry in spec.items(field):
            data: dict[str, str] = {}
            for literal in entry.strings("literals"):
                key, _, value = literal.partition("=")
                data[key] = value.strip("\"'")
            for item in entry.items("files"):
                key, equals, name = item.as_str().partition("=")
                data[key if equals else Path(key).name] = _contents(file, name if equals else key, item.error)
            meta = {"name": entry.text("name")}
            if entry.has("namespace"):
                meta["namespace"] = entry.text("namespace")
            values = {"data" if kind == "ConfigMap" else "stringData": data}
            body = {"apiVersion": "v1", "kind": kind, "metadata": meta, **values}
            made.append(Document(str(file), entry.line, body))
    return made


def _rename(spec: Cursor, documents: list[Document]) -> None:
    """namePrefix and nameSuffix on names; references to the renamed names of the same build follow."""
    prefix, suffix = spec.text("namePrefix", ""), spec.text("nameSuffix", "")
    if not prefix and not suffix:
        return
    names = {}
    for document in documents:
        if document.data.get("kind") not in {"Namespace", "CustomResourceDefinition"}:
            meta = document.data["metadata"]
            names[meta["name"]] = prefix + meta["name"] + suffix
            meta["name"] = names[meta["name"]]
    for document in documents:
        for key in ("spec", "roleRef", "subjects"):
            _follow(document.data.get(key), names)


_REFERENCES = {"name", "secretName", "serviceAccountName", "serviceName"}
_REFERRERS = re.compile(
    r".*(Ref|Refs|From|configMap|secret|parentRefs|backendRefs|roleRef|subjects|targetRef)$"
)


def _follow(value: Any, names: dict[str, str], key: str = "spec") -> None:
    if isinstance(value, list):
        for item in value:
            _follow(item, names, key)
    elif isinstance(value, dict):
        for field, item in value.items():
            is_reference = field in _REFERENCES and (field != "name" or _REFERRERS.match(key))
            if is_reference and isinstance(item, str) and item in names:
                value[field] = names[item]
            else:
                _follow(item, names, field)


def _transform(spec: Cursor, documents: list[Document]) -> None:
    namespace = spec.text("namespace", "")
    labels = spec.string_map("commonLabels")
    pairs = [(labels, True)] if labels else []
    pairs += [(e.string_map("pairs"), e.flag("includeSelectors", False)) for e in spec.items("labels")]
    annotations = spec.string_map("commonAnnotations")
    images = [(i.text("name"), i.text("newName", ""), i.text("newTag", "")) for i in spec.items("images")]
    replicas = {r.text("name"): r.number("count") for r in spec.items("replicas")}
    for document in documents:
        data = document.data
        meta = data.setdefault("metadata", {})
        if namespace and data.get("kind") not in CLUSTER_SCOPED:
            meta["namespace"] = namespace
        for values, in_selectors in pairs:
            _add_labels(data, values, in_selectors=in_selectors)
        if annotations:
            meta.setdefault("annotations", {}).update(annotations)
        if meta.get("name") in replicas and data.get("kind") in {"Deployment", "StatefulSet"}:
            data["spec"]["replicas"] = replicas[meta["name"]]
        _set_images(data, images)


def _add_labels(data: dict[str, Any], labels: dict[str, str], *, in_selectors: bool) -> None:
    data["metadata"].setdefault("labels", {}).update(labels)
    if not in_selectors or not isinstance(spec := data.get("spec"), dict):
        return
    if data.get("kind") in {"Deployment", "StatefulSet"}:
        spec.setdefault("selector", {}).setdefault("matchLabels", {}).update(labels)
        spec["template"].setdefault("metadata", {}).setdefault("labels", {}).update(labels)
    elif data.get("kind") == "Service":
        spec.setdefault("selector", {}).update(labels)


def _set_images(data: dict[str, Any], images: list[tuple[str, str, str]]) -> None:
    pod = (
        ((data.get("spec") or {}).get("template") or {}).get("spec")
        if isinstance(data.get("spec"), dict)
        else None
    )
    for container in (pod or {}).get("containers") or []:
        for name, new_name, new_tag in images:
            image = container.get("image", "")
            base, colon, tag = image.rpartition(":")
            if "/" in tag or not colon:
                base, tag = image, ""
            if base == name:
                tag = new_tag or tag
                container["image"] = (new_name or base) + (f":{tag}" if tag else "")
