"""Characters of a shell script -> words: quotes, expansions, here-documents. The grammar is parser.py's.

Facts: POSIX.1-2024, Shell Command Language 2.2 (quoting), 2.3 (tokens), 2.6 (expansions), and bash's manual
for what it has beyond. A construct that neither has is a ScriptError with its line.
"""

from __future__ import annotations

import bisect
import re
import sys
from dataclasses import replace

from gateway.containers.grammar.syntax import (
    Arithmetic,
    Block,
    CommandSub,
    HereDoc,
    Literal,
    Param,
    Part,
    ProcessSub,
    Word,
)
from gateway.errors import ScriptError

META = " \t\n;&|<>()"
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_BRACED = re.compile(r"[A-Za-z_]\w*|\d+|[@*#?$!-]", re.ASCII)
_OPERATORS = (":-", ":=", ":?", ":+", "##", "%%", "//", "/#", "/%", "^^", ",,")
_SINGLE_OPERATORS = "-=?+#%/^,:@"
_PATTERN_OPERATORS = frozenset({"#", "##", "%", "%%", "/", "//", "/#", "/%", "^", "^^", ",", ",,"})
_ANSI = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "v": "\v",
}
_ANSI_CODE = re.compile(r"x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})")
_DEEPEST = 60  # levels of expansions and commands within each other; a script that people write has five


class WordReader:
    """Reads words from `text`, whose first line has the number `line`. Raises ScriptError."""

    def __init__(self, text: str, line: int = 1, depth: int = 0) -> None:
        self.text = text
        self.pos = 0
        self.depth = depth
        self._first = line
        self._newlines = [i for i, c in enumerate(text) if c == "\n"]
        self.pending: list[HereDoc] = []

    @property
    def line(self) -> int:
        return self._first + bisect.bisect_left(self._newlines, self.pos)

    def error(self, message: str, line: int | None = None) -> ScriptError:
        return ScriptError(message, self.line if line is None else line)

    def at(self, text: str) -> bool:
        return self.text.startswith(text, self.pos)

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def block_until(self, closer: str) -> Block:
        """The commands up to `closer`, which is taken, too. The grammar's."""
        raise NotImplementedError

    def sub_reader(self, text: str, line: int) -> WordReader:
        """A reader of the same kind for a part of the script that was quoted."""
        return type(self)(text, line, self.depth + 1)

    # words

    def word(self) -> Word:
        """The word that begins here, in a command; it has no parts where none begins."""
        begin, line = self.pos, self.line
        parts = self._parts("plain", META)
        return Word(parts, self.text[begin : self.pos], line)

    def pattern_word(self) -> Word:
        """The right side of `=~`: parentheses and bars belong to it, blanks outside of them end it."""
        begin, line = self.pos, self.line
        parts: list[Part] = []
        depth = 0
        while self.pos < len(self.text):
            char = self.peek()
            if char in "()|<>":
                depth += {"(": 1, ")": -1}.get(char, 0)
                parts.append(Literal(char))
                self.pos += 1
            elif char in " \t\n&;":
                if not depth:
                    break
                parts.append(Literal(char))
                self.pos += 1
            else:
                parts += self._parts("plain", META)
        return Word(_merged(parts), self.text[begin : self.pos], line)

    def quoted_text(self) -> Word:
        """The whole text as the body of a here-document with expansions."""
        return Word(self._parts("heredoc", ""), self.text, self._first)

    def arithmetic(self, closer: str) -> Word:
        """An arithmetic expression up to `closer`, which is not taken."""
        begin, line = self.pos, self.line
        parts = self._parts("arithmetic", closer)
        return Word(parts, self.text[begin : self.pos], line)

    def _parts(self, mode: str, stops: str) -> tuple[Part, ...]:
        """Parts up to an unquoted one of `stops`.

        Modes: plain; brace (in an unquoted `${}`), quoted-brace; double (quotes); heredoc; arithmetic.
        """
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("is nested too deeply to be read")
        parts: list[Part] = []
        opened = 0
        while self.pos < len(self.text):
            char = self.peek()
            if mode == "arithmetic" and char in "()":
                if char == ")" and not opened and ")" in stops:
                    break
                opened += 1 if char == "(" else -1
            elif mode == "plain" and char in "<>" and self.text[self.pos + 1 : self.pos + 2] == "(":
                parts.append(self._process_sub())
                continue
            elif char in stops and not opened:
                break
            parts += self._part(char, mode)
        self.depth -= 1
        return _merged(parts)

    def _part(self, char: str, mode: str) -> list[Part]:
        is_quoted = mode not in {"plain", "brace"}
        if char == "\\":
            return self._escape(mode)
        if char == "'" and mode in {"plain", "brace"}:
            return [self._single()]
        if char == '"' and mode not in {"double", "heredoc"}:
            self.pos += 1
            line = self.line
            inner = self._parts("double", '"')
            self._take('"', f"a double quote of line {line} is not closed")
            return [Literal("", quoted=True), *inner]
        if char == "`":
            return [self._backquotes(is_quoted)]
        if char == "$":
            return self._dollar(is_quoted)
        self.pos += 1
        return [Literal(char, is_quoted)]

    def _take(self, text: str, otherwise: str) -> None:
        if not self.at(text):
            raise self.error(otherwise)
        self.pos += len(text)

    def _escape(self, mode: str) -> list[Part]:
        follows = self.text[self.pos + 1 : self.pos + 2]
        if follows == "\n":
            self.pos += 2
            return []
        escapable = {"double": '$`"\\', "heredoc": "$`\\", "arithmetic": '$`"\\', "quoted-brace": '$`"\\}'}
        if mode in escapable and follows not in escapable[mode]:
            self.pos += 1
            return [Literal("\\", quoted=True)]
        self.pos += 2
        return [Literal(follows or "\\", quoted=True)]

    def _single(self) -> Literal:
        end = self.text.find("'", self.pos + 1)
        if end < 0:
            raise self.error("a single quote is not closed")
        text = self.text[self.pos + 1 : end]
        self.pos = end + 1
        return Literal(text, quoted=True)

    def _ansi(self) -> Literal:
        """`$'...'`, from its quote on."""
        line = self.line
        self.pos += 1
        text = ""
        while (char := self.peek()) != "'":
            if not char:
                raise self.error("a quote $' is not closed", line)
            self.pos += 1
            if char != "\\":
                text += char
                continue
            if found := _ANSI_CODE.match(self.text, self.pos):
                number = int(next(g for g in found.groups() if g), 8 if found[4] else 16)
                if not 0 < number <= sys.maxunicode:
                    raise self.error(f"{found[0]} in $'' is no character that an argument may have", line)
                text += chr(number)
                self.pos = found.end()
                continue
            code = self.peek()
            self.pos += 1
            text += _ANSI.get(code, code if code in "\\'\"?" else f"\\{code}")
        self.pos += 1
        return Literal(text, quoted=True)

    # expansions

    def _dollar(self, is_quoted: bool) -> list[Part]:
        begin, line = self.pos, self.line
        follows = self.text[self.pos + 1 : self.pos + 2]
        if follows == "(":
            return [self._substitution(is_quoted)]
        if follows == "{":
            self.pos += 2
            return [self._braced(begin, line, is_quoted)]
        if follows in ("'", '"') and not is_quoted:
            self.pos += 1
            return [self._ansi()] if follows == "'" else []
        if follows == "[":
            raise self.error("$[ ] is not read; write $(( ))")
        found = _NAME.match(self.text, self.pos + 1)
        if found is None and (not follows or follows not in "0123456789@*#?$!-"):
            self.pos += 1
            return [Literal("$", is_quoted)]
        name = found[0] if found else follows
        self.pos += 1 + len(name)
        return [Param(name, self.text[begin : self.pos], line, is_quoted)]

    def _substitution(self, is_quoted: bool) -> Part:
        begin, line = self.pos, self.line
        if self.at("$(("):
            depth = self.depth
            try:
                self.pos += 3
                text = self.arithmetic(")")
                if self.at("))"):
                    self.pos += 2
                    return Arithmetic(text, self.text[begin : self.pos], line, is_quoted)
            except ScriptError:
                pass  # a subshell in a command substitution then, which has a space here as a rule
            self.pos, self.depth = begin, depth
        self.pos += 2
        body = self.block_until(")")
        return CommandSub(body, self.text[begin : self.pos], line, is_quoted)

    def _process_sub(self) -> ProcessSub:
        begin, line = self.pos, self.line
        self.pos += 2
        body = self.block_until(")")
        return ProcessSub(body, self.text[begin : self.pos], line)

    def _backquotes(self, is_quoted: bool) -> CommandSub:
        begin, line = self.pos, self.line
        self.pos += 1
        text = ""
        while (char := self.peek()) != "`":
            if not char:
                raise self.error("a backquote is not closed", line)
            if char == "\\" and (follows := self.text[self.pos + 1 : self.pos + 2]) in ("$", "`", "\\"):
                text += follows
                self.pos += 2
                continue
            text += char
            self.pos += 1
        self.pos += 1
        body = self.sub_reader(text, line).block_until("")
        return CommandSub(body, self.text[begin : self.pos], line, is_quoted)

    def _braced(self, begin: int, line: int, is_quoted: bool) -> Param:
        """`${...}`, from behind its brace on."""
        is_length = self.at("#") and re.match(r"#(?:[A-Za-z_@*]|\d)", self.text[self.pos : self.pos + 2])
        is_indirect = self.at("!") and re.match(r"![A-Za-z_]|!\d", self.text[self.pos : self.pos + 2])
        if is_length or is_indirect:
            self.pos += 1
        found = _BRACED.match(self.text, self.pos)
        if found is None:
            raise self.error(f"${{ is not followed by a name: {self.text[begin : begin + 20]!r}")
        self.pos = found.end()
        param = Param(found[0], "", line, is_quoted, is_length=bool(is_length), is_indirect=bool(is_indirect))
        if self.at("["):
            self.pos += 1
            at, at_line = self.pos, self.line
            index = self._parts("brace", "]")
            param = replace(param, index=Word(index, self.text[at : self.pos], at_line))
            self._take("]", "an index of ${ } is not closed")
        param = self._operation(param, is_quoted)
        self._take("}", f"${{ of line {line} is not closed")
        return replace(param, source=self.text[begin : self.pos])

    def _operation(self, param: Param, is_quoted: bool) -> Param:
        op = next((o for o in _OPERATORS if self.at(o)), self.peek())
        if op == "}" or not op:
            return param
        if op not in _OPERATORS and op not in _SINGLE_OPERATORS:
            raise self.error(f"${{{param.name}{op} is not an expansion that a shell has")
        self.pos += len(op)
        mode = "quoted-brace" if is_quoted and op not in _PATTERN_OPERATORS else "brace"
        stops = "}/" if op.startswith("/") else "}:" if op == ":" else "}"
        arg = self._brace_word(mode, stops)
        more = None
        if len(stops) == 2 and self.at(stops[1]):
            self.pos += 1
            more = self._brace_word(mode, "}")
        return replace(param, op=op, arg=arg, more=more)

    def _brace_word(self, mode: str, stops: str) -> Word:
        begin, line = self.pos, self.line
        parts = self._parts(mode, stops)
        return Word(parts, self.text[begin : self.pos], line)

    # here-documents

    def read_pending(self) -> None:
        """Read the here-documents that the line above announced; called behind its newline."""
        for document in self.pending:
            lines = []
            begin_line = self.line
            while True:
                if self.pos >= len(self.text):
                    break  # a shell warns and takes what there is
                end = self.text.find("\n", self.pos)
                end = len(self.text) if end < 0 else end
                text = self.text[self.pos : end]
                self.pos = min(end + 1, len(self.text))
                text = text.lstrip("\t") if document.strips_tabs else text
                if text == document.delimiter:
                    break
                lines.append(f"{text}\n")
            body = "".join(lines)
            if document.is_quoted:
                document.word = Word((Literal(body, quoted=True),), body, begin_line)
            else:
                document.word = self.sub_reader(body, begin_line).quoted_text()
        self.pending = []


def _merged(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring literals of one kind as one."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted == last.quoted:
            merged[-1] = Literal(last.text + part.text, part.quoted)
        else:
            merged.append(part)
    return tuple(merged)
