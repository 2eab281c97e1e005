"""A kustomize directory without kubectl: what `kubectl kustomize` prints for it, lines of the sources kept.

It is built here even where kubectl is installed, so that every machine runs the same objects and a finding
names the file and the line that a person would change. What is not built here (helmCharts, replacements,
vars, transformers, remote resources) is an error that names the field: a build that left it out silently
would run something else than the cluster does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from gateway.errors import ManifestError
from gateway.manifests.inside import is_inside
from gateway.manifests.kustomize.fields import KNOWN, check_fields
from gateway.manifests.kustomize.generate import generate
from gateway.manifests.kustomize.names import add_affixes, finish, set_namespace
from gateway.manifests.kustomize.objects import Built, objects_in
from gateway.manifests.kustomize.patch import apply_patches
from gateway.manifests.kustomize.transform import transform
from kit.errors import DocumentError
from kit.yamldoc import Cursor, Document, load_documents

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MOST_BUILT = 1000
_LOCAL = "config.kubernetes.io/local-config"


def kustomization_in(directory: Path) -> Path | None:
    """The kustomization file of a directory, None when it is a plain directory."""
    return next((directory / name for name in FILE_NAMES if (directory / name).is_file()), None)


def build(file: Path) -> list[Document]:
    """The objects that `kubectl kustomize` would print for this kustomization file.

    As with kustomize's LoadRestrictionsRootOnly every file is in or below the directory of the kustomization
    that names it, links followed; bases may be elsewhere. Raises ManifestError.
    """
    objects: list[Built] = []
    _accumulate(file, "Kustomization", objects, (), itertools.count(1))
    finish(objects)
    return [o.document for o in objects if (o.meta.get("annotations") or {}).get(_LOCAL) != "true"]


def _accumulate(
    file: Path, kind: str, objects: list[Built], roots: tuple[Path, ...], built: Iterator[int]
) -> None:
    """Add what a kustomization makes to `objects`; a Component changes those that are there, too.

    `roots`: the directories whose builds lead here. `built` counts the kustomizations: a few bases that name
    each other twice are billions.
    """
    if next(built) > MOST_BUILT:
        raise ManifestError(f"more than {MOST_BUILT} kustomizations lead here", str(file))
    root = next(load_documents(_text(file, file.name, ManifestError), str(file), ManifestError), None)
    if root is None or not isinstance(root.data, dict):
        raise ManifestError("an empty kustomization", str(file))
    spec = root.cursor()
    check_fields(spec, KNOWN)
    if (found := spec.text("kind", "Kustomization")) != kind:
        raise spec.error(f"must be {kind} here, is {found}", "kind")
    roots = (*roots, file.parent.resolve())
    own: list[Built] = objects if kind == "Component" else []
    met: dict[tuple[object, ...], Built] = {}
    for entry in [*spec.items("resources"), *spec.items("bases")]:
        if (base := _directory(file, entry, roots)) is not None:
            _accumulate(base, "Kustomization", own, roots, built)
        else:
            name = entry.as_str()
            for document in load_documents(
                _text(file, name, entry.error), str(file.parent / name), ManifestError
            ):
                own += objects_in(replace(document, data=deepcopy(document.data)))
        _check_once(own, met, entry)
    for entry in spec.items("components"):
        if (base := _directory(file, entry, roots)) is None:
            raise entry.error(f"{file.parent / entry.as_str()} is no directory: a component is one")
        _accumulate(base, "Component", own, roots, built)
    generate(spec, own, lambda name, at: _contents(file, name, at.error))
    apply_patches(spec, own, lambda name, at: _text(file, name, at.error))
    set_namespace(spec, own)
    add_affixes(spec, own)
    transform(spec, own)
    if own is not objects:
        objects += own


def _check_once(objects: list[Built], met: dict[tuple[object, ...], Built], entry: Cursor) -> None:
    """Raise ManifestError where the resource `entry` has brought an object that `met` holds already."""
    for each in objects[len(met) :]:
        identity = (each.group_version, each.kind, each.namespace, each.name)
        if (first := met.get(identity)) is not None:
            place = first.document.cursor().where
            raise entry.error(f"brings {each.kind} {each.namespace}/{each.name}, which is there from {place}")
        met[identity] = each


def _directory(file: Path, entry: Cursor, roots: tuple[Path, ...]) -> Path | None:
    """The kustomization file of the directory that `entry` names; None when it names a file."""
    name = entry.as_str()
    if "://" in name or name.startswith("github.com/"):
        raise entry.error(f"remote resource {name!r} cannot be read offline; fetch it and name the file")
    path = file.parent / name
    if not os.path.isdir(path):  # False, too, for a name that no path can have
        return None
    if Path(name).is_absolute():
        raise entry.error(f"the base {name} must be named relative to {file.parent}")
    if visited := next((root for root in roots if root.is_relative_to(path.resolve())), None):
        raise entry.error(f"the base {path} leads back to {visited}, which is being built: a cycle")
    if (inner := kustomization_in(path)) is None:
        raise entry.error(f"{path} has no kustomization.yaml")
    return inner


def _contents(file: Path, name: str, error: Callable[[str], DocumentError]) -> bytes:
    """The content of a file that the kustomization `file` names; `error` makes the error where it may not."""
    path = file.parent / name
    try:
        if not path.is_file():
            raise error(f"{path} does not exist, or is no file")
        if not is_inside(file.parent, path):
            raise error(
                f"{path} is not in or below {file.parent.resolve()}: kustomize reads no file from outside; "
                "make its directory a base, or copy it"
            )
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        raise error(f"{str(path)!r} cannot be read: {problem}") from problem


def _text(file: Path, name: str, error: Callable[[str], DocumentError]) -> str:
    try:
        return _contents(file, name, error).decode()
    except UnicodeDecodeError as problem:
        raise error(f"{str(file.parent / name)!r} cannot be read: {problem}") from problem
