"""Words -> fields: parameters, substitutions, splitting, as POSIX 2.6 orders them; file names stay unknown.

What is not known makes its field unknown, and the reason goes along to whoever uses the field.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from gateway.containers.expand import braces
from gateway.containers.expand.parameters import Ended, Parameters
from gateway.containers.expand.values import State, Unknown, Value, joined
from gateway.containers.grammar.syntax import Arithmetic, CommandSub, Literal, Param, Part, Word
from gateway.errors import ScriptError

_GLOB = re.compile(r"[*?]")
_MOST_FIELDS = 10_000  # of one command
_MOST = 1024 * 1024  # characters of one field: what execve takes is of this size


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a word, expanded. One that `breaks` ends the field before it, as between the words of "$@"."""

    value: Value
    quoted: bool = False
    splits: bool = False
    breaks: bool = False


class Expander(Parameters):
    """Expands words over `state`; `capture` runs a command substitution and gives its output.

    Raises Ended where a shell would end, ScriptError for what is not read.
    """

    def __init__(self, state: State, capture: Callable[[CommandSub], Value]) -> None:
        super().__init__(state)
        self._capture = capture

    # words

    def fields(self, words: Iterable[Word]) -> list[Value]:
        """The fields of `words`; unknown ones stand for any number of fields where they are not quoted."""
        found: list[Value] = []
        for word in words:
            for variant in braces.expand(word):
                found += self._fields(variant)
                if len(found) > _MOST_FIELDS:
                    raise ScriptError(f"more than {_MOST_FIELDS} arguments", word.line)
        return found

    def value(self, word: Word) -> Value:
        """A word as one text, as assignments and `case` have it."""
        pieces = self._pieces(word.parts, tilde=True)
        value = joined([" " if p.breaks else p.value for p in pieces])
        if isinstance(value, str) and len(value) > _MOST:
            raise ScriptError(f"{word.source[:40]} becomes too long", word.line)
        return value

    def tokens(self, word: Word) -> list[tuple[str, bool]] | Unknown:
        """A word as a pattern: texts and whether they are quoted."""
        found: list[tuple[str, bool]] = []
        for piece in self._pieces(word.parts, tilde=True):
            if isinstance(piece.value, Unknown):
                return piece.value
            found.append((" " if piece.breaks else piece.value, piece.quoted))
        return found

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
        ifs = self.ifs()
        if not ifs:
            if text:
                if not open_:
                    fields.append([])
                fields[-1].append(Piece(text))
            return open_ or bool(text)
        separator = _separator(ifs)
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

    def _field(self, pieces: list[Piece], word: Word) -> Value:
        value = joined(p.value for p in pieces)
        if isinstance(value, str) and len(value) > _MOST:
            raise ScriptError(f"{word.source[:40]} becomes too long", word.line)
        is_glob = any(not p.quoted and isinstance(p.value, str) and _GLOB.search(p.value) for p in pieces)
        if isinstance(value, str) and is_glob and "f" not in self.state.options:
            return Unknown(f"{value}, names of files in the container,", word.line, word.source)
        return value if isinstance(value, str) else Unknown(value.why, value.line or word.line, word.source)

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
        value = self.operated(param)
        if value is None:
            value = self.without_value(param)
        if isinstance(value, list):
            yield from self._list(param, value)
        else:
            yield Piece(value, param.quoted, splits=not param.quoted)

    def _list(self, param: Param, values: list[Value]) -> Iterator[Piece]:
        star = param.name == "*" or (param.index is not None and param.index.plain == "*")
        if param.quoted and star:
            yield Piece(joined(values, self.ifs()[:1]), quoted=True)
            return
        for i, value in enumerate(values):
            if i:
                yield Piece("", breaks=True)
            if param.quoted or value != "":
                yield Piece(value, param.quoted, splits=not param.quoted)

    def _conditional(self, param: Param) -> Iterator[Piece]:
        """`-`, `=`, `?`, `+`, with a colon for empty ones, too."""
        value = self.resolved(param)
        text = joined(value, " ") if isinstance(value, list) else value
        if isinstance(text, Unknown):
            yield Piece(text, param.quoted, splits=not param.quoted)
            return
        is_unset = value is None or value == [] or (param.op[0] == ":" and not text)
        if param.op[-1] == "+":
            if not is_unset:
                yield from self._alternative(param)
            elif param.quoted:
                yield Piece("", quoted=True)
        elif is_unset:
            yield from self._instead(param)
        elif isinstance(value, list):
            yield from self._list(param, value)
        else:
            yield Piece(value or "", param.quoted, splits=not param.quoted)

    def _instead(self, param: Param) -> Iterator[Piece]:
        """What stands for a parameter that is not set, after `-`, `=` or `?`."""
        if param.op[-1] == "?":
            words = self.value(param.arg) if param.arg and param.arg.parts else "parameter null or not set"
            raise Ended(f"${param.name} is not set: {words}", param.line)
        if param.op[-1] == "=":
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


def _separator(ifs: str) -> re.Pattern[str]:
    """What stands between two fields: blanks of IFS together, any other of its characters each."""
    blank = re.escape("".join(c for c in ifs if c in " \t\n"))
    other = re.escape("".join(c for c in ifs if c not in " \t\n"))
    space = f"[{blank}]" if blank else "(?!)"
    return re.compile(rf"{space}*[{other}]{space}*|{space}+" if other else f"{space}+")


def absolute(path: str, directory: str | None) -> str:
    """A path of the container, its `.` and `..` resolved; relative where the directory is not known."""
    return posixpath.normpath(posixpath.join(directory or "", path))
