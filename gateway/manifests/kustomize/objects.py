"""An object under construction: its data, and the names by which patches and references may call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.errors import ManifestError
from gateway.manifests.resources import CLUSTER_SCOPED
from kit.yamldoc import Cursor, Document

# Kinds that kustomize gives no namespace: it knows Kubernetes' own, and takes others for namespaced.
UNSCOPED = CLUSTER_SCOPED - {"GatewayClass"}


@dataclass
class Built:
    """One object on its way through the kustomizations that lead to it."""

    document: Document
    past: list[tuple[str, str]] = field(default_factory=list)  # (namespace, name) that it had, oldest first
    affixes: list[str] = field(default_factory=list)  # prefixes and suffixes that it was given
    hashed: bool = False  # its name ends in a hash of its content

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.document.data
        return data

    @data.setter
    def data(self, data: dict[str, Any]) -> None:
        self.document = replace(self.document, data=data)

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def group_version(self) -> tuple[str, str]:
        group, _, version = str(self.data["apiVersion"]).rpartition("/")
        return group, version

    @property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = self.data["metadata"]
        return meta

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    @property
    def namespace(self) -> str:
        """As kustomize compares it: none is `default`."""
        return "" if self.kind in UNSCOPED else str(self.meta.get("namespace") or "default")

    @property
    def names(self) -> list[tuple[str, str]]:
        """Every (namespace, name) that it has or had."""
        return [*self.past, (self.namespace, self.name)]

    def remember(self) -> None:
        """Before a change of name or namespace: the old ones stay good for patches and references."""
        if (self.namespace, self.name) not in self.past:
            self.past.append((self.namespace, self.name))

    def is_called(self, data: dict[str, Any]) -> bool:
        """Whether a strategic patch or a generator's object `data` means this object."""
        other = Built(Document("", 0, data, ManifestError))
        return (other.kind, other.group_version) == (self.kind, self.group_version) and (
            other.namespace,
            other.name,
        ) in self.names


def objects_in(document: Document) -> Iterator[Built]:
    """The objects of a document of a resource file, Lists taken apart. Raises ManifestError for others."""
    root = document.cursor()
    if (
        isinstance(root.value, dict)
        and str(root.value.get("kind", "")).endswith("List")
        and root.has("items")
    ):
        for item in root.items("items"):
            yield from objects_in(document.part(item.path))
        return
    yield checked(Built(document))


def checked(built: Built) -> Built:
    """The object itself. Raises ManifestError where what is read here is of another type."""
    root = built.document.cursor()
    root.text("kind")
    root.text("apiVersion")
    meta = root.child("metadata")
    meta.text("name")
    meta.text("namespace", "")
    for parent, keys in ((meta, ("labels", "annotations")), (root, ("spec",))):
        for key in keys:
            parent.opt(key)
    if built.kind in {"ConfigMap", "Secret"}:
        root.opt("data")
        root.opt("binaryData")
    return built


class Target:
    """The `target` of a patch: regular expressions and selectors, all of which an object has to match.

    Raises ManifestError for patterns and selectors that cannot be read.
    """

    def __init__(self, at: Cursor) -> None:
        self._patterns = {}
        for key in ("group", "version", "kind", "name", "namespace"):
            try:
                self._patterns[key] = re.compile(at.text(key, ""))
            except re.error as error:
                raise at.error(f"not a regular expression: {error}", key) from error
        self._labels = _selector(at, "labelSelector")
        self._annotations = _selector(at, "annotationSelector")

    def matches(self, built: Built) -> bool:
        group, version = built.group_version
        facts = {
            "group": [group],
            "version": [version],
            "kind": [built.kind],
            "namespace": [namespace for namespace, _ in built.names],
            "name": [name for _, name in built.names],
        }
        return (
            all(
                not pattern.pattern or any(pattern.fullmatch(value) for value in facts[key])
                for key, pattern in self._patterns.items()
            )
            and _selects(self._labels, built.meta.get("labels"))
            and _selects(self._annotations, built.meta.get("annotations"))
        )


_PAIR = re.compile(r"\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*")
Selector = list[tuple[str, bool, str]]  # key, whether it is to be equal, value


def _selector(at: Cursor, key: str) -> Selector:
    found = []
    for part in filter(None, at.text(key, "").split(",")):
        if not (match := _PAIR.fullmatch(part)):
            raise at.error(f"{part!r} is not KEY=VALUE or KEY!=VALUE: only those are built here", key)
        found.append((match[1], match[2] != "!=", match[3]))
    return found


def _selects(selector: Selector, values: Any) -> bool:
    values = values or {}
    return all((values.get(key) == value) is equal for key, equal, value in selector)
