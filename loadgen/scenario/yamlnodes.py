"""YAML that remembers its lines: typed reads of a node tree, each error with file, line and the cure."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable
from typing import Any

from kit.durations import parse_seconds
from kit.yamldoc import Document, Path, load_documents, show_path
from loadgen.errors import ScenarioError

COMMAND_LINE = "command line"  # `where` of text made from flags: it has no lines that anybody wrote


class Node:
    """One YAML value, its place in the file and typed reads of it: ScenarioError at that place."""

    def __init__(self, document: Document, value: Any, path: Path = ()) -> None:
        self.value = value
        self.line = document.line_of(path)
        self.seen: set[str] = set()
        self._document = document
        self._path = path
        self._items: dict[str, Node] | None = None
        self._elements: list[Node] | None = None

    def error(self, message: str) -> ScenarioError:
        """An error about this value."""
        prefix = f"{show_path(self._path)}: " if self._path else ""
        return ScenarioError(prefix + message, self._document.file, self.line)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    def items(self) -> dict[str, Node]:
        """The mapping's values by key; an error for anything but a mapping."""
        if self._items is None:
            if not isinstance(self.value, dict):
                raise self.error(f"must be a mapping (key: value), not {self._described()}")
            self._items = {key: self._child(value, key) for key, value in self.value.items()}
        return self._items

    def elements(self) -> list[Node]:
        """The values of a list."""
        if self._elements is None:
            if not isinstance(self.value, list):
                raise self.error(f"must be a list, not {self._described()}")
            self._elements = [self._child(value, i) for i, value in enumerate(self.value)]
        return self._elements

    def _child(self, value: Any, key: str | int) -> Node:
        return Node(self._document, value, (*self._path, key))

    def overlay(self, text: str, where: str) -> None:
        """Lay the keys of another mapping over this one's, mappings in it too: lists of its top grow.

        Everything else is replaced.
        """
        self._lay(parse_yaml(text, where), grow=True)

    def _lay(self, over: Node, *, grow: bool) -> None:
        mine = self.items()
        for key, node in over.items().items():
            below = mine.get(key)
            if below is not None and below.is_mapping and node.is_mapping:
                below._lay(node, grow=False)
            elif grow and below is not None and below.is_list and node.is_list:
                below.elements().extend(node.elements())
            else:
                mine[key] = node

    def get(self, key: str) -> Node | None:
        """The value under `key`, None when absent or null; marks the key as known."""
        self.seen.add(key)
        node = self.items().get(key)
        return None if node is None or node.value is None else node

    def need(self, key: str) -> Node:
        """The value under `key`; an error when it is not there."""
        node = self.get(key)
        if node is None:
            raise self.missing(key)
        return node

    def missing(self, key: str, besides: str = "") -> ScenarioError:
        """The error for a key that is not there, or empty; at what looks like a misspelling of it, if any."""
        if (empty := self.items().get(key)) is not None:
            return empty.error("is empty; give it a value")
        for name in difflib.get_close_matches(key, sorted(self.items()), 1, 0.7):
            return self.items()[name].error(f"unknown key; did you mean `{key}`?")
        return self.error(f"needs `{key}:`{besides}")

    def done(self) -> None:
        """Error for the first key that nobody asked for, with the nearest known name."""
        for key, node in self.items().items():
            if key not in self.seen:
                near = difflib.get_close_matches(key, sorted(self.seen), 1, 0.5)
                hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(self.seen))}"
                raise node.error(f"unknown key{hint}")

    def text(self) -> str:
        """Any scalar as it is written."""
        if self.is_mapping or self.is_list:
            raise self.error(f"must be a text, not {self._described()}")
        return self._document.written.get(self._path) or str(self.value or "")

    def choice(self, options: Iterable[str]) -> str:
        """A text out of `options`."""
        text = self.text()
        names = list(options)
        if text not in names:
            near = difflib.get_close_matches(text, names, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self.error(f"must be one of {', '.join(names)}, not {text!r}{hint}")
        return text

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A number in [low, high]."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"must be a number, not {self._described()}")
        if not abs(value) <= sys.float_info.max:
            raise self.error(f"must be a finite number, not {self.text()[:20]!r}")
        if not low <= value <= high:
            raise self.error(f"must be {_range(low, high)}, not {value}")
        return float(value)

    def integer(self, low: float = -math.inf, high: float = math.inf) -> int:
        """A whole number in [low, high]."""
        number = self.number(low, high)
        if not number.is_integer():
            raise self.error(f"must be a whole number, not {number}")
        return int(self.value)  # a float holds no more than 53 bits of it

    def boolean(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"must be true or false, not {self._described()}")
        return self.value

    def duration(self, low: float = 0.0) -> float:
        """Seconds: a number, or a text with a unit."""
        try:
            value = parse_seconds(self.text())
        except ValueError:
            raise self.error(
                f"must be a duration such as 30s, 250ms or 1h30m, not {self._described()}"
            ) from None
        if value < low:
            raise self.error(f"must be at least {low:g} s, not {value:g}")
        return value

    def share(self) -> float:
        """A fraction of one: 0.25 or 25%."""
        text = self.text()
        try:
            value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise self.error(f"must be a share such as 0.25 or 25%, not {text!r}") from None
        if not 0 <= value <= 1:
            raise self.error(f"must be between 0 and 1 (0% and 100%), not {text}")
        return value

    def strings(self) -> dict[str, str]:
        """A mapping of texts."""
        return {key: node.text() for key, node in self.items().items()}

    def _described(self) -> str:
        if self.is_mapping or self.is_list:
            return "a mapping" if self.is_mapping else "a list"
        return "nothing" if self.value is None else repr(self.text())


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if math.isinf(low) else f"between {low:g} and {high:g}"


def parse_yaml(text: str, where: str) -> Node:
    """The root of a document; ScenarioError with the line of what is not one YAML document."""
    documents = list(load_documents(text, where, ScenarioError))
    if not documents:
        raise ScenarioError("is empty", where)
    if len(documents) > 1:
        raise ScenarioError("holds a second document; a scenario is one", where, documents[1].line)
    document = documents[0]
    if where == COMMAND_LINE:
        document = Document(where, 0, document.data, ScenarioError, written=document.written)
    return Node(document, document.data)
