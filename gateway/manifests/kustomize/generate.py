"""configMapGenerator and secretGenerator: ConfigMaps and Secrets from files, literals and env files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.errors import ManifestError
from gateway.manifests.kustomize.objects import Built
from kit.yamldoc import Cursor, Document

Read = Callable[[str, Cursor], bytes]
"""The content of a file that the kustomization names, and where it is named."""
_HASH_LETTERS = str.maketrans("013ae", "ghkmt")


def generate(spec: Cursor, objects: list[Built], read: Read) -> None:
    """Add what the generators of `spec` make to `objects`, or merge it into what is there.

    ManifestError where kubectl refuses.
    """
    for field, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
        for entry in spec.items(field):
            made = _generated(spec, entry, kind, read)
            behavior = entry.text("behavior", "create")
            old = next((o for o in objects if o.is_called(made.data)), None)
            if behavior not in {"create", "merge", "replace"}:
                raise entry.error(f"must be create, merge or replace, is {behavior!r}", "behavior")
            if (old is None) != (behavior == "create"):
                is_there = "is there already" if old else "is not there"
                raise entry.error(f"{behavior}: the {kind} {made.name} {is_there}", "behavior")
            if old is None:
                objects.append(made)
            else:
                _join(old, made, merge=behavior == "merge")


def _generated(spec: Cursor, entry: Cursor, kind: str, read: Read) -> Built:
    meta: dict[str, Any] = {"name": entry.text("name")}
    if namespace := entry.text("namespace", ""):
        meta["namespace"] = namespace
    data: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": meta}
    content = _content(entry, read)
    if kind == "Secret":
        data["type"] = entry.text("type", "") or "Opaque"
        data["data"] = {key: base64.b64encode(value).decode() for key, value in content.items()}
    else:
        for key, value in content.items():
            field, text = _config_value(value)
            data.setdefault(field, {})[key] = text
    built = Built(Document(entry.file, entry.line, data, ManifestError), hashed=True)
    for options in (spec.opt("generatorOptions"), entry.opt("options")):
        if options is not None:
            for key in ("labels", "annotations"):
                if pairs := options.string_map(key):
                    meta[key] = {**meta.get(key, {}), **pairs}
            if options.flag("disableNameSuffixHash", False):
                built.hashed = False
            if options.flag("immutable", False):
                data["immutable"] = True
    return built


def _config_value(value: bytes) -> tuple[str, str]:
    try:
        return "data", value.decode()
    except UnicodeDecodeError:
        return "binaryData", base64.b64encode(value).decode()


def _content(entry: Cursor, read: Read) -> dict[str, bytes]:
    """Key -> value of one generator, in the order in which kustomize reads them."""
    found: dict[str, bytes] = {}

    def put(at: Cursor, key: str, value: bytes) -> None:
        if not key:
            raise at.error("must be KEY=VALUE")
        if key in found:
            raise at.error(f"the key {key!r} stands twice")
        found[key] = value

    envs = [entry.at("env")] if entry.has("env") else []
    for item in [*entry.items("envs"), *envs]:
        for pair in _env_pairs(item, read(item.as_str(), item)):
            put(item, *pair)
    for item in entry.items("literals"):
        key, equals, value = item.as_str().partition("=")
        if not equals:
            raise item.error("must be KEY=VALUE")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        put(item, key, value.encode())
    for item in entry.items("files"):
        key, equals, name = item.as_str().partition("=")
        put(item, key if equals else Path(key).name, read(name if equals else key, item))
    return found


def _env_pairs(item: Cursor, content: bytes) -> Iterator[tuple[str, bytes]]:
    """The pairs of an env file; comments and empty lines count for nothing."""
    for line in content.decode("utf-8-sig", "replace").splitlines():
        if (text := line.lstrip()) and not text.startswith("#"):
            key, equals, value = text.partition("=")
            if not equals:
                raise item.error(f"{key!r} without a value would be taken from this process's environment")
            yield key, value.encode()


def _join(old: Built, made: Built, *, merge: bool) -> None:
    """`made` over `old`: its data is merged into the old ones or takes their place; labels are merged."""
    data = dict(old.data)
    for field in ("data", "binaryData"):
        fresh = made.data.get(field, {})
        value = {**(data.get(field) or {}), **fresh} if merge else fresh
        data.pop(field, None)
        if value:
            data[field] = value
    for field in ("type", "immutable"):
        if field in made.data and not (field == "type" and merge):
            data[field] = made.data[field]
    meta = dict(old.meta)
    for field in ("labels", "annotations"):
        if pairs := {**(meta.get(field) or {}), **made.meta.get(field, {})}:
            meta[field] = pairs
    old.data = {**data, "metadata": meta}
    old.hashed = old.hashed and made.hashed


def name_suffix(built: Built) -> str:
    """The hash that ends the name of a generated object: kustomize's, of all but the name."""
    content: dict[str, Any] = {"kind": built.kind, "name": "", "data": built.data.get("data", "")}
    if built.kind == "Secret":
        content["type"] = built.data.get("type", "")
    if "binaryData" in built.data:
        content["binaryData"] = built.data["binaryData"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":  # which Go writes escaped
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_HASH_LETTERS)
