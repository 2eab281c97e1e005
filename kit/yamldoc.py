"""YAML documents that know the line of every value, and typed reading of them.

`Document` is plain data plus a map from path to line; `Cursor` walks it. Whoever reads a value of the wrong
type gets an error with file, line and path, so no kind of document checks types by hand. The error is of the
class that the document was loaded with: each room passes its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from kit.errors import DocumentError
from kit.printable import one_line

Path = tuple[str | int, ...]
MOST_VALUES = 1_000_000
"""Of one document, aliases written out: a small file can spell billions."""


class _Loader(yaml.SafeLoader):
    """SafeLoader without timestamps, which Kubernetes' YAML does not have."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Document:
    """One YAML document: `data` as plain Python values, `lines` the line (from 1) of each path in it.

    `written` has what stands in the file for each scalar that is not a string; `refusal` is what is raised.
    """

    file: str
    line: int
    data: Any
    refusal: type[DocumentError]
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)

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
        written = {p[n:]: text for p, text in self.written.items() if p[:n] == path}
        return Document(self.file, self.line_of(path), data, self.refusal, lines, written)


def load_documents(text: str, file: str, refusal: type[DocumentError]) -> Iterator[Document]:
    """The documents of `text`, empty ones left out. Raises `refusal` for what is not YAML."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise refusal(f"not text: {error.reason} at character {error.position}", file) from error
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node() said so
            reading = _Reading(loader, file, refusal)
            data = reading.value(node, ())
            if data is not None:
                line = node.start_mark.line + 1
                yield Document(file, line, data, refusal, reading.lines, reading.written)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = mark.line + 1 if mark else None
        raise refusal(f"not YAML: {error.problem or error.context}", file, where) from error
    except RecursionError:
        raise refusal("not to be read: nested too deeply", file, loader.get_mark().line + 1) from None
    finally:
        loader.dispose()


class _Reading:
    """One document on its way from nodes to plain data."""

    def __init__(self, loader: _Loader, file: str, refusal: type[DocumentError]) -> None:
        self._loader = loader
        self._file = file
        self._refusal = refusal
        self._open: set[yaml.Node] = set()  # those that are being read: an alias of one has no end
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The plain value of `node`, which stands at `path`."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node in self._open:
            raise self._error("an alias stands for what it stands in", node, path)
        if len(self.lines) > MOST_VALUES:
            raise self._error(f"more than {MOST_VALUES} values, with aliases written out", node, path)
        self._open.add(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.remove(node)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self._loader.construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError):  # 0b_, `!!int ""`, `!!bool x`, `!!timestamp x`
            raise self._error(f"{node.value!r} is no value of {node.tag}", node, path) from None
        if not isinstance(value, str):
            self.written[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise self._error("stands twice; keep one", key, (*path, key.value))
                seen.add(key.value)
        self._loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error("a mapping key must be a string", key, path)
            self.lines[*path, key.value] = key.start_mark.line + 1
            result[key.value] = self.value(item, (*path, key.value))
        return result

    def _error(self, message: str, node: yaml.Node, path: Path) -> DocumentError:
        return self._refusal(f"{show_path(path)}: {message}", self._file, node.start_mark.line + 1)


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

    def error(self, message: str, *keys: str | int) -> DocumentError:
        """An error that points here, or at the value under `keys`."""
        path = (*self.path, *keys)
        document = self.document
        return document.refusal(f"{show_path(path)}: {message}", document.file, document.line_of(path))

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
    return one_line(shown) or "document"
