"""The patches of a kustomization: which object each one means, and how it changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gateway.errors import ManifestError
from gateway.manifests.kustomize.merge import apply_json_patch, merge
from gateway.manifests.kustomize.objects import Built, Target, checked, objects_in
from kit.yamldoc import Cursor, Document, load_documents

Read = Callable[[str, Cursor], str]  # the text of a file that the kustomization names, and where it is named


def apply_patches(spec: Cursor, objects: list[Built], read: Read) -> None:
    """Apply patchesStrategicMerge, patches and patchesJson6902 of `spec`; deleted objects leave the list."""
    for entry in spec.items("patchesStrategicMerge"):
        text = entry.as_str()
        body = text if "\n" in text else read(text, entry)
        for patch in load_documents(body, entry.file, ManifestError):
            _apply(entry, patch, None, objects)
    for field in ("patches", "patchesJson6902"):
        for entry in spec.items(field):
            given = entry.opt("target")
            target = Target(given) if given is not None else None
            for patch in _bodies(entry, read):
                _apply(entry, patch, target, objects)


def _bodies(entry: Cursor, read: Read) -> Iterator[Document]:
    if entry.has("patch") == entry.has("path"):
        raise entry.error("must have either patch or path")
    name = entry.text("path", "")
    body = read(name, entry) if name else entry.text("patch")
    found = list(load_documents(body, entry.file, ManifestError))
    if not found:
        raise entry.error("an empty patch")
    yield from found


def _apply(entry: Cursor, patch: Document, target: Target | None, objects: list[Built]) -> None:
    is_json = isinstance(patch.data, list)
    if target is None:
        if is_json:
            raise entry.error("a JSON patch needs a target")
        called = next(objects_in(patch)).data
        hit = [o for o in objects if o.is_called(called)]
        if not hit:
            meta = called["metadata"]
            raise entry.error(
                f"no object matches the patch: there is no {called['apiVersion']} {called['kind']} "
                f"{meta['name']} in namespace {meta.get('namespace') or 'default'}"
            )
    else:
        hit = [o for o in objects if target.matches(o)]
    for built in hit:
        data = apply_json_patch(built.document, patch) if is_json else _merged(built, patch.data, entry)
        if data is None:
            objects.remove(built)
        else:
            built.data = data
            checked(built)


def _merged(built: Built, patch: Any, entry: Cursor) -> Any:
    """The object with a strategic merge patch, which renames nothing; None when the patch deletes it."""
    if not isinstance(patch, dict):
        raise entry.error(f"a patch must be an object or a list of operations, is {patch!r}")
    if patch.get("$patch") == "delete":
        return None
    body = {k: v for k, v in patch.items() if k not in {"apiVersion", "kind"}}
    if "metadata" in body:
        given = Cursor(Document(entry.file, entry.line, patch, ManifestError), patch, ()).opt("metadata")
        meta = given.value if given else {}
        body["metadata"] = {k: v for k, v in meta.items() if k not in {"name", "namespace"}}
    return merge(built.data, body, built)
