"""YAML documents that know the line of every value, and typed reading of them.

`Document` is plain data plus a map from path to line; `Cursor` walks it. Whoever reads a value of the wrong
type gets an error with file, line and path, so no kind of document checks types by hand. The error is of the
class that the document was loaded with: each room passes its own.

A small file can spell billions of values with aliases and merge keys. What a document may hold is bounded
before it is built: its length as kube-apiserver bounds a request, its aliases by the share that go-yaml has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from kit.errors import DocumentError
from kit.printable import one_line

Path = tuple[str | int, ...]
MOST_VALUES = 1_000_000  # of one document, aliases and merge keys written out
MOST_CHARACTERS = 3 * 1024 * 1024  # of one document; kube-apiserver takes requests of 3 MiB
TWICE = "stands twice; keep one"
_BETWEEN = re.compile(r"^(?:---|\.\.\.)(?!\S)", re.MULTILINE)
_MERGE = "tag:yaml.org,2002:merge"
_Pairs = list[tuple[yaml.ScalarNode, yaml.Node]]


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
    """The documents of `text`, empty ones left out. Raises `refusal` for what is no YAML or too much."""
    _check_length(text, file, refusal)
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


def _check_length(text: str, file: str, refusal: type[DocumentError]) -> None:
    """Only the marks between documents are looked at: reading 3 MiB takes half a minute."""
    begin = 0
    for end in [*(mark.start() for mark in _BETWEEN.finditer(text)), len(text)]:
        if end - begin > MOST_CHARACTERS:
            words = f"a document of more than {MOST_CHARACTERS // 1024**2} MiB; kube-apiserver takes none"
            raise refusal(words, file, text.count("\n", 0, begin) + 1)
        begin = end


def load_value(text: str, file: str, refusal: type[DocumentError]) -> Any:
    """The plain value of the one document of `text`, None for none. Raises `refusal` for what is not that."""
    documents = list(load_documents(text, file, refusal))
    if len(documents) > 1:
        raise refusal("holds a second document; one is expected", file, documents[1].line)
    return documents[0].data if documents else None


def _alias_share(values: int) -> float:
    """How many of `values` may come of aliases, as go-yaml 3 allows: nearly all, of millions a tenth."""
    return 0.99 - 0.89 * min(max((values - 400_000) / 3_600_000, 0.0), 1.0)


class _Reading:
    """One document on its way from nodes to plain data."""

    def __init__(self, loader: _Loader, file: str, refusal: type[DocumentError]) -> None:
        self._loader = loader
        self._file = file
        self._refusal = refusal
        self._open: set[yaml.Node] = set()  # those that are being read: an alias of one has no end
        self._met: set[yaml.Node] = set()  # mappings and lists: whoever is met again is an alias
        self._pairs: dict[yaml.Node, _Pairs] = {}
        self._within_alias = 0
        self._values = self._of_aliases = 0
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The plain value of `node`, which stands at `path`."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count(1, node, path)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node in self._open:
            raise self._error("an alias stands for what it stands in", node, path)
        alias = node in self._met
        self._met.add(node)
        self._open.add(node)
        self._within_alias += alias
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._within_alias -= alias
            self._open.remove(node)

    def _count(self, values: int, node: yaml.Node, path: Path) -> None:
        """Take in that there are more values; an error where they are too many, or too many are aliases'."""
        self._values += values
        if self._within_alias:
            self._of_aliases += values
        if self._values > MOST_VALUES:
            raise self._error(f"more than {MOST_VALUES} values, with aliases written out", node, path)
        enough = self._values > 1000 and self._of_aliases > 100
        if enough and self._of_aliases > _alias_share(self._values) * self._values:
            raise self._error("aliases stand for nearly everything in this document", node, path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self._loader.construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError):  # 0b_, `!!int ""`, `!!bool x`, `!!timestamp x`
            raise self._error(f"{node.value!r} is no value of {node.tag}", node, path) from None
        if not isinstance(value, str):
            self.written[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in self._flat(node, path):
            self.lines[*path, key.value] = key.start_mark.line + 1
            result[key.value] = self.value(item, (*path, key.value))
        return result

    def _flat(self, node: yaml.MappingNode, path: Path) -> _Pairs:
        """The pairs of a mapping, each key once: what is merged in (`<<`) first, then its own."""
        if (known := self._pairs.get(node)) is not None:
            return known
        own: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error("a mapping key must be a string", key, path)
            if key.tag == _MERGE:
                for pair in self._merged(item, path):
                    merged.setdefault(pair[0].value, pair)
            elif key.value in own:
                raise self._error(TWICE, key, (*path, key.value))
            else:
                own[key.value] = (key, item)
        self._pairs[node] = pairs = list({**merged, **own}.values())
        return pairs

    def _merged(self, node: yaml.Node, path: Path) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The pairs of what stands behind a `<<`; whoever comes first wins."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                raise self._error("`<<` takes a mapping or a list of mappings", source, path)
            if source in self._open:
                raise self._error("an alias stands for what it stands in", source, path)
            self._open.add(source)
            pairs = self._flat(source, path)
            self._open.remove(source)
            self._count(len(pairs), source, path)
            yield from pairs

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
        """The value, which must be a string; an error that names its place for anything else."""
        if not isinstance(self.value, str):
            raise self.error(f"must be a string, is {self.value!r}")
        return self.value


def show_path(path: Path) -> str:
    """`spec.listeners[0].name`; `document` for the root."""
    shown = ""
    for key in path:
        shown += f"[{key}]" if isinstance(key, int) else f".{key}" if shown else key
    return one_line(shown) or "document"
