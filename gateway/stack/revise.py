"""Manifests with other objects in them, and what that changes, a line for each object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.manifests.load import Manifests, documents_of, read
from gateway.manifests.resources import Resource
from kit.yamldoc import Document, show_path

MOST_SHOWN = 3  # changed fields of an object; more are counted
_LONGEST = 60  # characters of a value
_MISSING = object()
Identity = tuple[str, str, str, str]


def revised(
    old: Manifests, sources: Sequence[str], namespace: str, *, prune: bool = False
) -> tuple[Manifests, list[str]]:
    """`old` with the objects of `sources` added, or in place of those of the same name.

    With `prune` the others go. The lines say what became of each object. Raises ManifestError.
    """
    given = read([d for source in sources for d in documents_of(source)], namespace)
    before = {_identity(r): r for r in old.resources}
    now = {_identity(r): r for r in given.resources}
    kept = [] if prune else [r for key, r in before.items() if key not in now]
    lines = [_line(before.get(key), resource) for key, resource in now.items()]
    if prune:
        lines += [f"{resource} removed" for key, resource in before.items() if key not in now]
    documents = [_document(r) for r in (*kept, *given.resources)]
    return read(documents, namespace), lines


def _identity(resource: Resource) -> Identity:
    return resource.group, resource.kind, resource.namespace, resource.name


def _document(resource: Resource) -> Document:
    """The object alone, its namespace written into it: it may come of another -n."""
    root = resource.root
    document = root.document.part(root.path) if root.path else root.document
    if resource.namespace:
        document.data["metadata"]["namespace"] = resource.namespace
    return document


def _line(old: Resource | None, new: Resource) -> str:
    if old is None:
        return f"{new} created"
    changes = list(_changes(_bare(old), _bare(new), ()))
    if not changes:
        return f"{new} unchanged"
    shown = "; ".join(changes[:MOST_SHOWN])
    more = f"; {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
    return f"{new} configured: {shown}{more}"


def _bare(resource: Resource) -> Any:
    value = resource.root.value
    meta = {k: v for k, v in value["metadata"].items() if k != "namespace"}
    return {**value, "metadata": meta}


def _changes(old: Any, new: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _changes(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (was, is_) in enumerate(zip(old, new, strict=True)):
            yield from _changes(was, is_, (*path, i))
    elif isinstance(old, str) and isinstance(new, str) and old.count("\n") == new.count("\n") > 0:
        for was, is_ in zip(old.splitlines(), new.splitlines(), strict=False):
            if was != is_:
                yield f"{show_path(path)}: {_shown(was)} -> {_shown(is_)}"
    elif old != new:
        yield f"{show_path(path)} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "none"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
