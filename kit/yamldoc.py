"""YAML documents that know the line of every value, and typed reading of them.

`Document` is plain data plus a map from path to line; `Cursor` walks it. Whoever reads a value of the wrong
type gets a ManifestError with file, line and path, so no kind of manifest checks types by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.errors import ManifestError

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader without timestamps, which Kubernetes' YAML does not have."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Document:
    """One YAML document: `data` as plain Python values, `lines` the line (from 1) of each path in it."""

    file: str
    line: int
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """Line of the value at `path`; of the nearest ancestor that has one when the path itself has none."""
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(path[:end])) is not None:
                return line
        return self.line

    def cursor(self) -> Cursor:
        return Cursor(self, self.data, ())

    def part(self, path: Path) -> Document:
        """The value at `path` as a document of its own, lines kept."""
        data = self.data
        for key in path:
            data = data[key]
        n = len(path)
        lines = {p[n:]: line for p, line in self.lines.items() if p[:n] == path}
        return Document(self.file, self.line_of(path), data, lines)


def load_documents(text: str, file: str) -> Iterator[Document]:
    """The documents of `text`, empty ones left out. Raises ManifestError for what is not YAML."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                continue
            lines: dict[Path, int] = {}
            data = _convert(loader, node, (), lines, file)
            if data is not None:
                yield Document(file, node.start_mark.line + 1, data, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise ManifestError(f"not YAML: {error.problem or error.context}", file, line) from error
    except yaml.reader.ReaderError as error:
        raise ManifestError(f"not text: {error.reason} at byte {error.position}", file) from error
    finally:
        loader.dispose()


def _convert(loader: _Loader, node: yaml.Node, path: Path, lines: dict[Path, int], file: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(loader, node, path, lines, file)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(loader, item, (*path, i), lines, file) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _convert_mapping(
    loader: _Loader, node: yaml.MappingNode, path: Path, lines: dict[Path, int], file: str
) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise ManifestError(f"key {key.value!r} stands twice", file, key.start_mark.line + 1)
            seen.add(key.value)
    loader.flatten_mapping(node)
    result: dict[str, Any] = {}
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ManifestError("a mapping key must be a string", file, key.start_mark.line + 1)
        lines[(*path, key.value)] = key.start_mark.line + 1
        result[key.value] = _convert(loader, item, (*path, key.value), lines, file)
    return result


_MISSING: Any = object()
_NAMES = {str: "a string", int: "an integer", bool: "true or false", dict: "a mapping", list: "a list"}


class Cursor:
    """A value of a document and the way to it. A null value counts as a missing one, as in Kubernetes."""

    __slots__ = ("document", "path", "value")

    def __init__(self, document: Document, value: Any, path: Path) -> None:
        self.document = document
        self.value = value
        self.path = path

    @property
    def file(self) -> str:
        return self.document.file

    @property
    def line(self) -> int:
        return self.document.line_of(self.path)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, message: str, *keys: str | int) -> ManifestError:
        """A ManifestError that points here, or at the value under `keys`."""
        path = (*self.path, *keys)
        return ManifestError(f"{show_path(path)}: {message}", self.file, self.document.line_of(path))

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def at(self, *keys: str | int) -> Cursor:
        """The value under `keys`, None where the way ends."""
        value = self.value
        for key in keys:
            if isinstance(value, dict) and isinstance(key, str):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                value = None
        return Cursor(self.document, value, (*self.path, *keys))

    def _read(self, key: str, kind: type, default: Any) -> Any:
        if not isinstance(self.value, dict):
            raise self.error(f"must be a mapping, is {self.value!r}")
        value = self.value.get(key)
        if value is None:
            if default is _MISSING:
                raise self.error(f"{key} is missing")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(f"must be {_NAMES[kind]}, is {value!r}", key)
        return value

    def text(self, key: str, default: str = _MISSING) -> str:
        result: str = self._read(key, str, default)
        return result

    def number(self, key: str, default: int = _MISSING) -> int:
        result: int = self._read(key, int, default)
        return result

    def flag(self, key: str, default: bool = _MISSING) -> bool:
        result: bool = self._read(key, bool, default)
        return result

    def child(self, key: str) -> Cursor:
        """The mapping under `key`; an error when there is none."""
        return Cursor(self.document, self._read(key, dict, _MISSING), (*self.path, key))

    def opt(self, key: str) -> Cursor | None:
        """The mapping under `key`, None when there is none."""
        value = self._read(key, dict, None)
        return None if value is None else Cursor(self.document, value, (*self.path, key))

    def items(self, key: str) -> list[Cursor]:
        """The items of the list under `key`, none when it is missing."""
        items = self._read(key, list, [])
        return [Cursor(self.document, item, (*self.path, key, i)) for i, item in enumerate(items)]

    def strings(self, key: str) -> list[str]:
        return [item.as_str() for item in self.items(key)]

    def string_map(self, key: str) -> dict[str, str]:
        """A mapping of strings to strings (labels, ConfigMap data)."""
        child = self.opt(key)
        if child is None:
            return {}
        return {name: child.text(name) for name in child.value if child.value[name] is not None}

    def as_str(self) -> str:
        if not isinstance(self.value, str):
            raise self.error(f"must be a string, is {self.value!r}")
        return self.value


def show_path(path: Path) -> str:
    """`spec.listeners[0].name`; `document` for the root."""
    shown = ""
    for key in path:
        shown += f"[{key}]" if isinstance(key, int) else f".{key}" if shown else key
    return shown or "document"
