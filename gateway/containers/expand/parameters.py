"""What `$name` and `${...}` stand for, and what their operators make of it; POSIX 2.5 and 2.6.2, and bash."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from gateway.containers.expand.arithmetic import Reckoner, UnknownNumberError
from gateway.containers.expand.patterns import Tokens, replaced, without
from gateway.containers.expand.values import State, Unknown, Value, joined
from gateway.containers.grammar.syntax import Literal, Param, Word

LIST = ("@", "*")


class Ended(Exception):  # noqa: N818 - the script's end, no fault of ours
    """The script ends here; `status` is what it ends with, `why` what to tell where no server was met."""

    def __init__(self, why: str, line: int, status: int = 1) -> None:
        self.why = why
        self.line = line
        self.status = status
        super().__init__(why)


class Parameters:
    """Parameters and variables of `state`.

    Raises Ended where a shell would end, ScriptError for what is not read.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.unset: dict[str, int] = {}  # variables without a value that were used, and where

    def value(self, word: Word) -> Value:
        """A word as one text, as assignments and `case` have it."""
        raise NotImplementedError

    def tokens(self, word: Word) -> list[tuple[str, bool]] | Unknown:
        """A word as a pattern: texts and whether they are quoted."""
        raise NotImplementedError

    def without_value(self, param: Param) -> Value:
        if "u" in self.state.options and not param.is_length:
            raise Ended(f"${param.name} is not set, and `set -u` ends the script", param.line)
        if not param.name.isdigit():
            self.unset.setdefault(param.name, param.line)
        return ""

    def lookup(self, param: Param) -> Value | list[Value] | None:
        """What a name stands for, None: it is not set; all of an array or of the parameters as a list."""
        name, state = param.name, self.state
        if name in LIST:
            return list(state.positional)
        if name.isdigit():
            return self._positional(int(name))
        if name == "#":
            unknown = next((v for v in state.positional if isinstance(v, Unknown)), None)
            return unknown or str(len(state.positional))
        if name == "?":
            return state.status if isinstance(state.status, Unknown) else str(state.status)
        if name in {"$", "!", "-"}:
            return Unknown(f"${name}", param.line)
        return self._variable(param)

    def _positional(self, number: int) -> Value | None:
        """`$1` and so on; not known where one before it is not, as that may be several or none."""
        state = self.state
        if number == 0:
            return state.name
        if any(isinstance(v, Unknown) for v in state.positional[:number]):
            return next(v for v in state.positional if isinstance(v, Unknown))
        return state.positional[number - 1] if number <= len(state.positional) else None

    def _variable(self, param: Param) -> Value | list[Value] | None:
        value = self.state.get(param.name, param.line)
        if param.index is None:
            return value.get(0) if isinstance(value, dict) else value
        if param.index.plain in LIST:
            if isinstance(value, dict):
                return [value[i] for i in sorted(value)]
            return [] if value is None else [value]
        index = self.number(param.index, param.line)
        if isinstance(index, Unknown) or isinstance(value, Unknown):
            return index if isinstance(index, Unknown) else Unknown(param.source, param.line)
        items = value if isinstance(value, dict) else {} if value is None else {0: value}
        if index < 0 and items:
            index += max(items) + 1
        return items.get(index)

    def resolved(self, param: Param) -> Value | list[Value] | None:
        if not param.is_indirect:
            return self.lookup(param)
        if param.index is not None and param.index.plain in LIST:
            value = self.state.get(param.name, param.line)
            return [str(i) for i in sorted(value)] if isinstance(value, dict) else ["0"]
        name = self.lookup(replace(param, is_indirect=False))
        if isinstance(name, Unknown):
            return name
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\[[^\]]+\])?|\d+|[@*]", name):
            return None
        name, index = self._indexed(name)
        return self.lookup(replace(param, name=name, index=index, is_indirect=False))

    def operated(self, param: Param) -> Value | list[Value] | None:
        if param.is_indirect and param.op == "@":
            return Unknown(param.source, param.line)
        value = self.resolved(param)
        if param.is_length:
            return self._length(value, param)
        if not param.op or value is None:
            return value
        if param.op == ":":
            return self._slice(param, value)
        if isinstance(value, list):
            return [self._changed(param, v) for v in value]
        return self._changed(param, value)

    def _length(self, value: Value | list[Value] | None, param: Param) -> Value:
        if isinstance(value, list):
            unknown = next((v for v in value if isinstance(v, Unknown)), None)
            return unknown or str(len(value))
        if value is None:
            value = self.without_value(replace(param, is_length=False))
        return value if isinstance(value, Unknown) else str(len(value))

    def _changed(self, param: Param, value: Value) -> Value:
        """One value after `#`, `%`, `/`, `^`, `,` or `@`."""
        if isinstance(value, Unknown):
            return value
        tokens = self.tokens(param.arg) if param.arg else []
        if isinstance(tokens, Unknown):
            return tokens
        if param.op[0] in "#%":
            return without(value, tokens, param.op)
        if param.op[0] == "/":
            by = self.value(param.more) if param.more else ""
            return by if isinstance(by, Unknown) else replaced(value, tokens, by, param.op)
        if param.op[0] in "^,":
            return _cased(value, tokens, param.op)
        return self._transformed(param, value, "".join(t for t, _ in tokens))

    @staticmethod
    def _transformed(param: Param, value: str, how: str) -> Value:
        changes: dict[str, Callable[[str], str]] = {
            "U": str.upper, "L": str.lower, "u": lambda t: t[:1].upper() + t[1:],
        }  # fmt: skip
        return changes[how](value) if how in changes else Unknown(param.source, param.line)

    def _slice(self, param: Param, value: Value | list[Value]) -> Value | list[Value]:
        offset = self.number(param.arg, param.line) if param.arg else 0
        length = self.number(param.more, param.line) if param.more else None
        unknown = next((v for v in (offset, length, value) if isinstance(v, Unknown)), None)
        if unknown is not None:
            return unknown
        assert isinstance(offset, int)
        assert not isinstance(length, Unknown)
        items: list[Value] | str
        if isinstance(value, list):
            items = [self.state.name, *value] if param.name in LIST else value
            if param.name in LIST and offset == 0 and length is not None and length >= 0:
                return items[:length]
        else:
            assert isinstance(value, str)
            items = value
        begin, end = _bounds(len(items), offset, length)
        return items[begin:end]

    @staticmethod
    def _indexed(name: str) -> tuple[str, Word | None]:
        name, bracket, index = name.partition("[")
        return name, Word((Literal(index.rstrip("]")),), index, 0) if bracket else None

    def ifs(self) -> str:
        value = self.state.variables["IFS"].value if "IFS" in self.state.variables else " \t\n"
        return value if isinstance(value, str) else " \t\n"

    def number(self, word: Word, line: int) -> int | Unknown:
        """The value of an arithmetic expression."""
        text = self.value(word)
        return text if isinstance(text, Unknown) else self.reckon(text, line)

    def reckon(self, text: str, line: int) -> int | Unknown:
        def read(name: str) -> Value | None:
            name, index = self._indexed(name)
            value = self.lookup(Param(name, name, line, index=index))
            return joined(value, " ") if isinstance(value, list) else value

        def write(name: str, value: str) -> None:
            self.state.set(name, value)

        try:
            return Reckoner(read, write, line).value(text)
        except UnknownNumberError as error:
            return error.value


def _cased(value: str, tokens: Tokens, op: str) -> Value:
    change = str.upper if op[0] == "^" else str.lower
    if any(text for text, _ in tokens) and [t for t, _ in tokens] != ["?"]:
        return Unknown(f"${{...{op}pattern}}", 0)
    return change(value) if len(op) == 2 else change(value[:1]) + value[1:]


def _bounds(size: int, offset: int, length: int | None) -> tuple[int, int]:
    """Of `${name:offset:length}`: negative ones count from the end; an offset before the start is empty."""
    if offset < -size:
        return 0, 0
    begin = offset if offset >= 0 else size + offset
    end = size if length is None else begin + length if length >= 0 else size + length
    return begin, max(begin, min(end, size))
