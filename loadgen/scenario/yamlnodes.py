"""YAML that remembers its lines: typed reads of a node tree, each error with file, line and the cure."""

import difflib
import math
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from loadgen.errors import ScenarioError

DURATION_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|ms|s|min|m|h|)")


def parse_duration(text: str) -> float:
    """Seconds of `30`, `30s`, `1.5m`, `250ms`, `1h30m`; ValueError when it is none of these."""
    text = text.strip()
    total, position = 0.0, 0
    while position < len(text):
        match = _DURATION.match(text, position)
        if match is None:
            raise ValueError(text)
        total += float(match[1]) * DURATION_UNITS[match[2]]
        position = match.end()
        while position < len(text) and text[position] == " ":
            position += 1
    if not text:
        raise ValueError(text)
    return total


COMMAND_LINE = "command line"
"""`where` of text made from flags: it has no lines that anybody wrote."""


def _line(raw: yaml.Node, where: str) -> int:
    return 0 if where == COMMAND_LINE else int(raw.start_mark.line) + 1


class Node:
    """One YAML value, its place in the file and typed reads of it."""

    def __init__(self, raw: yaml.Node, where: str, path: str = "") -> None:
        self.raw = raw
        self.where = where
        self.path = path
        self.line = _line(raw, where)
        self.seen: set[str] = set()
        self._items: dict[str, Node] | None = None
        self._places: dict[int, str] = {}
        """Where elements come from that an overlay brought, by the id of their raw node."""

    def error(self, message: str) -> ScenarioError:
        """An error about this value."""
        prefix = f"{self.path}: " if self.path else ""
        return ScenarioError(prefix + message, where=self.where, line=self.line)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.raw, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.raw, yaml.SequenceNode)

    @property
    def is_null(self) -> bool:
        return bool(self.raw.tag == "tag:yaml.org,2002:null")

    def items(self) -> dict[str, "Node"]:
        """The mapping's values by key; errors for anything but a mapping with unique keys."""
        if self._items is None:
            if not isinstance(self.raw, yaml.MappingNode):
                raise self.error(f"must be a mapping (key: value), not {self._described()}")
            self._items = {}
            for key, value in self.raw.value:
                name = str(key.value)
                child = Node(value, self.where, f"{self.path}.{name}" if self.path else name)
                child.line = _line(key, self.where)
                if name in self._items:
                    raise child.error("stands twice; keep one")
                self._items[name] = child
        return self._items

    def overlay(self, text: str, where: str) -> None:
        """Lay the keys of another mapping over this one's: lists grow, everything else is replaced."""
        mine = self.items()
        for key, node in parse_yaml(text, where).items().items():
            below = mine.get(key)
            if below is not None and below.is_list and node.is_list:
                below.raw.value.extend(node.raw.value)
                below._places.update((id(raw), where) for raw in node.raw.value)
            else:
                mine[key] = node

    def get(self, key: str) -> "Node | None":
        """The value under `key`, None when absent or null; marks the key as known."""
        self.seen.add(key)
        node = self.items().get(key)
        return None if node is None or node.is_null else node

    def need(self, key: str) -> "Node":
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

    def elements(self) -> Iterator["Node"]:
        """The values of a list."""
        if not isinstance(self.raw, yaml.SequenceNode):
            raise self.error(f"must be a list, not {self._described()}")
        for index, value in enumerate(self.raw.value):
            yield Node(value, self._places.get(id(value), self.where), f"{self.path}[{index}]")

    def plain(self) -> object:
        """The value as Python objects, as yaml.safe_load has it."""
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self.raw)
        except yaml.YAMLError as error:
            raise self.error(str(error)) from error
        except (ValueError, LookupError, AttributeError) as error:
            # What PyYAML's own constructors raise for 2001-99-99, `!!bool x` and `!!timestamp x`.
            raise self.error("holds a value that does not fit its tag; quote it if it is a text") from error
        finally:
            loader.dispose()

    def text(self) -> str:
        """Any scalar as it is written."""
        if not isinstance(self.raw, yaml.ScalarNode):
            raise self.error(f"must be a text, not {self._described()}")
        return str(self.raw.value)

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
        value = self.plain()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"must be a number, not {self._described()}")
        if not abs(value) <= sys.float_info.max:
            raise self.error(f"must be a finite number, not {self.text()[:20]!r}")
        if not low <= value <= high:
            raise self.error(f"must be {_range(low, high)}, not {value}")
        return float(value)

    def integer(self, low: float = -math.inf, high: float = math.inf) -> int:
        """A whole number in [low, high]."""
        value = self.number(low, high)
        if not value.is_integer():
            raise self.error(f"must be a whole number, not {value}")
        return int(value)

    def boolean(self) -> bool:
        """true or false."""
        value = self.plain()
        if not isinstance(value, bool):
            raise self.error(f"must be true or false, not {self._described()}")
        return value

    def duration(self, low: float = 0.0) -> float:
        """Seconds: a number, or a text with a unit."""
        try:
            value = parse_duration(self.text())
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
        if isinstance(self.raw, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.raw, yaml.SequenceNode):
            return "a list"
        return "nothing" if self.is_null else repr(self.raw.value)


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if math.isinf(low) else f"between {low:g} and {high:g}"


def parse_yaml(text: str, where: str | Path) -> Node:
    """The root of a document; ScenarioError with the line of a syntax error."""
    try:
        raw = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {error.problem or error.context}"
        raise ScenarioError(message, where=where, line=mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"not YAML: {error}", where=where) from error
    if raw is None:
        raise ScenarioError("is empty", where=where)
    return Node(raw, str(where))
