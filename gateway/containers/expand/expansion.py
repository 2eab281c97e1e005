"""Words -> fields: parameters, substitutions, splitting, as POSIX 2.6 orders them; file names stay unknown.

What is not known makes its field unknown, and the reason goes along to whoever uses the field.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from gateway.containers.expand import braces
from gateway.containers.expand.arithmetic import Reckoner, UnknownNumberError
from gateway.containers.expand.patterns import Tokens, replaced, without
from gateway.containers.expand.values import State, Unknown, Value, joined
from gateway.containers.grammar.syntax import Arithmetic, CommandSub, Literal, Param, Part, Word
from gateway.errors import ScriptError

_GLOB = re.compile(r"[*?]")
_LIST = ("@", "*")
_MOST = 1024 * 1024  # characters of one field: what execve takes is of this size


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a word, expanded. One that `breaks` ends the field before it, as between the words of "$@"."""

    value: Value
    quoted: bool = False
    splits: bool = False
    breaks: bool = False


class Ended(Exception):  # noqa: N818 - the script's end, no fault of ours
    """The script ends here; `status` is what it ends with, `why` what to tell where no server was met."""

    def __init__(self, why: str, line: int, status: int = 1) -> None:
        self.why = why
        self.line = line
        self.status = status
        super().__init__(why)


class Expander:
    """Expands words over `state`; `capture` runs a command substitution and gives its output."""

    def __init__(self, state: State, capture: Callable[[CommandSub], Value]) -> None:
        self.state = state
        self._capture = capture
        self.unset: dict[str, int] = {}  # variables without a value that were used, and where

    # words

    def fields(self, words: Iterable[Word]) -> list[Value]:
        """The fields of `words`; unknown ones stand for any number of fields where they are not quoted."""
        return [field for word in words for w in braces.expand(word) for field in self._fields(w)]

    def value(self, word: Word) -> Value:
        """A word as one text, as assignments and `case` have it."""
        pieces = self._pieces(word.parts, tilde=True)
        return joined([" " if p.breaks else p.value for p in pieces])

    def tokens(self, word: Word) -> list[tuple[str, bool]] | Unknown:
        """A word as a pattern: texts and whether they are quoted."""
        found: list[tuple[str, bool]] = []
        for piece in self._pieces(word.parts, tilde=True):
            if isinstance(piece.value, Unknown):
                return piece.value
            found.append((" " if piece.breaks else piece.value, piece.quoted))
        return found

    def number(self, word: Word, line: int) -> int | Unknown:
        """The value of an arithmetic expression."""
        text = self.value(word)
        return text if isinstance(text, Unknown) else self.reckon(text, line)

    def reckon(self, text: str, line: int) -> int | Unknown:
        def read(name: str) -> Value | None:
            name, index = self._indexed(name)
            value = self._lookup(Param(name, name, line, index=index))
            return joined(value, " ") if isinstance(value, list) else value

        def write(name: str, value: str) -> None:
            self.state.set(name, value)

        try:
            return Reckoner(read, write, line).value(text)
        except UnknownNumberError as error:
            return error.value

    @staticmethod
    def _indexed(name: str) -> tuple[str, Word | None]:
        name, bracket, index = name.partition("[")
        return name, Word((Literal(index.rstrip("]")),), index, 0) if bracket else None

    def _fields(self, word: Word) -> list[Value]:
        pieces = list(self._pieces(word.parts, tilde=True))
        if all(p.value == "" and p.quoted and not p.breaks for p in pieces) and self._is_empty_list(word):
            return []
        fields: list[list[Piece]] = []
        open_ = False
        for piece in pieces:
            if piece.breaks:
                if not open_:
                    fields.append([])
                open_ = False
            elif piece.splits and isinstance(piece.value, str):
                open_ = self._split(piece.value, fields, open_)
            else:
                if not open_:
                    fields.append([])
                fields[-1].append(piece)
                open_ = True
        return [self._field(f, word) for f in fields if f]

    def _is_empty_list(self, word: Word) -> bool:
        """Whether `"$@"` or the like made nothing of it, quotes and all."""
        return any(
            isinstance(p, Param)
            and p.quoted
            and p.op[-1:] not in ("-", "=", "?", "+")
            and (p.name == "@" or (p.index is not None and p.index.plain == "@"))
            and not p.is_length
            for p in word.parts
        )

    def _split(self, text: str, fields: list[list[Piece]], open_: bool) -> bool:
        """Add the fields of an unquoted expansion; whether the last of them is still open."""
        ifs = self._ifs()
        if not ifs:
            if text:
                if not open_:
                    fields.append([])
                fields[-1].append(Piece(text))
            return open_ or bool(text)
        blank = "".join(c for c in ifs if c in " \t\n")
        separator = re.compile(
            rf"[{re.escape(blank)}]*[{re.escape(ifs.translate({ord(c): None for c in blank}))}][{re.escape(blank)}]*"
            rf"|[{re.escape(blank)}]+"
            if blank and len(blank) < len(ifs)
            else rf"[{re.escape(ifs)}]{'+' if blank else ''}"
        )
        position = 0
        while position < len(text):
            found = separator.search(text, position)
            end = found.start() if found else len(text)
            if end > position or (found and found[0].strip(" \t\n") and not open_):
                if not open_:
                    fields.append([])
                fields[-1].append(Piece(text[position:end], quoted=end == position))
                open_ = True
            if found is None:
                break
            open_ = False
            position = found.end()
        return open_

    def _ifs(self) -> str:
        value = self.state.variables["IFS"].value if "IFS" in self.state.variables else " \t\n"
        return value if isinstance(value, str) else " \t\n"

    def _field(self, pieces: list[Piece], word: Word) -> Value:
        value = joined(p.value for p in pieces)
        if isinstance(value, str) and len(value) > _MOST:
            raise ScriptError(f"{word.source[:40]} becomes too long", word.line)
        is_glob = any(not p.quoted and isinstance(p.value, str) and _GLOB.search(p.value) for p in pieces)
        if isinstance(value, str) and is_glob and "f" not in self.state.options:
            return Unknown(f"{value}, names of files in the container,", word.line, word.source)
        return value if isinstance(value, str) else Unknown(value.why, value.line or word.line, word.source)

    # parts

    def _pieces(self, parts: tuple[Part, ...], *, tilde: bool = False) -> Iterator[Piece]:
        for i, part in enumerate(parts):
            if isinstance(part, Literal):
                if tilde and i == 0 and not part.quoted and part.text.startswith("~"):
                    yield from self._tilde(part)
                else:
                    yield Piece(part.text, part.quoted)
            elif isinstance(part, Param):
                yield from self._param(part)
            elif isinstance(part, CommandSub):
                value = self._capture(part)
                value = value.rstrip("\n") if isinstance(value, str) else value
                yield Piece(value, part.quoted, splits=not part.quoted)
            elif isinstance(part, Arithmetic):
                number = self.number(part.text, part.line)
                value = number if isinstance(number, Unknown) else str(number)
                yield Piece(value, part.quoted, splits=not part.quoted)
            else:
                yield Piece(Unknown(part.source, part.line))

    def _tilde(self, part: Literal) -> Iterator[Piece]:
        name, slash, rest = part.text.partition("/")
        if name != "~":
            yield Piece(Unknown(f"{name}, a home directory of the image,", 0))
            return
        home = self.state.get("HOME", 0)
        yield Piece(home if isinstance(home, str | Unknown) else "~", quoted=True)
        yield Piece(slash + rest)

    def _param(self, param: Param) -> Iterator[Piece]:
        if param.op in {"-", ":-", "=", ":=", "?", ":?", "+", ":+"}:
            yield from self._conditional(param)
            return
        value = self._operated(param)
        if value is None:
            value = self._without_value(param)
        if isinstance(value, list):
            yield from self._list(param, value)
        else:
            yield Piece(value, param.quoted, splits=not param.quoted)

    def _list(self, param: Param, values: list[Value]) -> Iterator[Piece]:
        star = param.name == "*" or (param.index is not None and param.index.plain == "*")
        if param.quoted and star:
            yield Piece(joined(values, self._ifs()[:1]), quoted=True)
            return
        for i, value in enumerate(values):
            if i:
                yield Piece("", breaks=True)
            if param.quoted or value != "":
                yield Piece(value, param.quoted, splits=not param.quoted)

    def _without_value(self, param: Param) -> Value:
        if "u" in self.state.options and not param.is_length:
            raise Ended(f"${param.name} is not set, and `set -u` ends the script", param.line)
        if not param.name.isdigit():
            self.unset.setdefault(param.name, param.line)
        return ""

    # parameters

    def _lookup(self, param: Param) -> Value | list[Value] | None:
        """What a name stands for, None: it is not set; all of an array or of the parameters as a list."""
        name, state = param.name, self.state
        if name in _LIST:
            return list(state.positional)
        if name.isdigit():
            number = int(name)
            if number == 0:
                return state.name
            if any(isinstance(v, Unknown) for v in state.positional[:number]):
                return next(v for v in state.positional if isinstance(v, Unknown))
            return state.positional[number - 1] if number <= len(state.positional) else None
        if name == "#":
            unknown = next((v for v in state.positional if isinstance(v, Unknown)), None)
            return unknown or str(len(state.positional))
        if name == "?":
            return state.status if isinstance(state.status, Unknown) else str(state.status)
        if name in {"$", "!", "-"}:
            return Unknown(f"${name}", param.line)
        return self._variable(param)

    def _variable(self, param: Param) -> Value | list[Value] | None:
        value = self.state.get(param.name, param.line)
        if param.index is None:
            return value.get(0) if isinstance(value, dict) else value
        if param.index.plain in _LIST:
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

    def _resolved(self, param: Param) -> Value | list[Value] | None:
        if not param.is_indirect:
            return self._lookup(param)
        if param.index is not None and param.index.plain in _LIST:
            value = self.state.get(param.name, param.line)
            return [str(i) for i in sorted(value)] if isinstance(value, dict) else ["0"]
        name = self._lookup(replace(param, is_indirect=False))
        if isinstance(name, Unknown):
            return name
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\[[^\]]+\])?|\d+|[@*]", name):
            return None
        name, index = self._indexed(name)
        return self._lookup(replace(param, name=name, index=index, is_indirect=False))

    def _operated(self, param: Param) -> Value | list[Value] | None:
        if param.is_indirect and param.op == "@":
            return Unknown(param.source, param.line)
        value = self._resolved(param)
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
            value = self._without_value(replace(param, is_length=False))
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
        assert isinstance(offset, int) and not isinstance(length, Unknown)
        items: list[Value] | str
        if isinstance(value, list):
            items = [self.state.name, *value] if param.name in _LIST else value
            if param.name in _LIST and offset == 0 and length is not None and length >= 0:
                return items[:length]
        else:
            assert isinstance(value, str)
            items = value
        size = len(items)
        begin = offset if offset >= 0 else max(size + offset, 0)
        if offset < -size:
            return [] if isinstance(items, list) else ""
        end = size if length is None else begin + length if length >= 0 else size + length
        return items[begin : max(begin, min(end, size))]

    def _conditional(self, param: Param) -> Iterator[Piece]:
        """`-`, `=`, `?`, `+`, with a colon for empty ones, too."""
        value = self._resolved(param)
        if isinstance(value, Unknown):
            yield Piece(value, param.quoted, splits=not param.quoted)
            return
        text = joined(value, " ") if isinstance(value, list) else value
        if isinstance(text, Unknown):
            yield Piece(text, param.quoted, splits=not param.quoted)
            return
        is_unset = value is None or value == [] or (param.op[0] == ":" and not text)
        kind = param.op[-1]
        if kind == "+":
            if not is_unset:
                yield from self._alternative(param)
            elif param.quoted:
                yield Piece("", quoted=True)
        elif not is_unset:
            if isinstance(value, list):
                yield from self._list(param, value)
            else:
                yield Piece(value or "", param.quoted, splits=not param.quoted)
        elif kind == "?":
            words = self.value(param.arg) if param.arg and param.arg.parts else "parameter null or not set"
            raise Ended(f"${param.name} is not set: {words}", param.line)
        elif kind == "=":
            default = self.value(param.arg) if param.arg else ""
            self.state.set(param.name, default)
            yield Piece(default, param.quoted, splits=not param.quoted)
        else:
            yield from self._alternative(param)

    def _alternative(self, param: Param) -> Iterator[Piece]:
        """The word behind the operator; unquoted parts of it are split where the expansion is unquoted."""
        if param.quoted:
            yield Piece("", quoted=True)
        for piece in self._pieces(param.arg.parts if param.arg else (), tilde=True):
            quoted = piece.quoted or param.quoted
            yield replace(piece, quoted=quoted, splits=not quoted)


def _cased(value: str, tokens: Tokens, op: str) -> Value:
    change = str.upper if op[0] == "^" else str.lower
    if any(text for text, _ in tokens) and [t for t, _ in tokens] != ["?"]:
        return Unknown(f"${{...{op}pattern}}", 0)
    return change(value) if len(op) == 2 else change(value[:1]) + value[1:]


def absolute(path: str, directory: str | None) -> str:
    """A path of the container, its `.` and `..` resolved; relative where the directory is not known."""
    return posixpath.normpath(posixpath.join(directory or "", path))
