"""Simple commands, redirections and `[[ ]]` of a shell script.

Facts: POSIX.1-2024, Shell Command Language 2.7, 2.9.1 and 2.10, and bash's manual.
"""

from __future__ import annotations

import re

from gateway.containers.grammar.syntax import (
    Assignment,
    Command,
    Condition,
    HereDoc,
    Redirect,
    Simple,
    Test,
    Word,
)
from gateway.containers.grammar.words import META, WordReader
from gateway.errors import ScriptError

_OPERATORS = (
    ";;&",
    ";;",
    ";&",
    "&&",
    "||",
    "|&",
    "&>>",
    "&>",
    "<<<",
    "<<-",
    "<<",
    "<&",
    "<>",
    ">>",
    ">&",
    ">|",
)
_REDIRECT = re.compile(r"(\d*|\{[A-Za-z_]\w*\})(<<<|<<-|<<|<&|<>|>>|>&|>\||<|>)|(&>>|&>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[([^\]\s]*)\])?(\+?)=", re.ASCII)
_PLAIN = re.compile(r"""[^\s;&|<>()'"\\$`]+""")
_UNARY = frozenset({*(f"-{c}" for c in "abcdefghknoprstuvwxzGLNORS")})
_BINARY = frozenset(
    {"=", "==", "!=", "=~", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef"}
)
DECLARING = frozenset({"export", "declare", "typeset", "local", "readonly"})


class SimpleReader(WordReader):
    """Reads what stands between two operators. Raises ScriptError."""

    def function_body(self, name: str) -> Command:
        """The function `name`, from behind its parentheses on; the grammar's."""
        raise NotImplementedError

    def unexpected(self, otherwise: str = "") -> ScriptError:
        found = self.text[self.pos : self.pos + 30].split("\n")[0]
        return self.error(
            f"a shell would not take this: {found!r}" if found else otherwise or "ends too early"
        )

    def operator(self) -> str:
        self.skip_blanks()
        return next((op for op in _OPERATORS if self.at(op)), self.peek())

    def skip_blanks(self) -> None:
        while self.pos < len(self.text):
            if self.peek() in " \t\r":
                self.pos += 1
            elif self.at("\\\n"):
                self.pos += 2
            elif self.at("#"):  # only asked where a word may begin
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
            else:
                return

    def skip_lines(self) -> None:
        self.skip_blanks()
        while self.at("\n"):
            self.pos += 1
            self.read_pending()
            self.skip_blanks()

    def peek_plain(self) -> str:
        """The unquoted word that stands here, as reserved words do; empty for any other."""
        self.skip_blanks()
        found = _PLAIN.match(self.text, self.pos)
        if found is None or (found.end() < len(self.text) and self.text[found.end()] not in META):
            return ""
        return found[0]

    def take_plain(self, word: str) -> None:
        if self.peek_plain() != word:
            raise self.unexpected(f"{word!r} is missing")
        self.pos += len(word)
        self.skip_blanks()

    def expect(self, text: str) -> None:
        if not self.at(text):
            raise self.unexpected(f"{text!r} is missing")
        self.pos += len(text)

    def some_word(self) -> Word:
        word = self.word()
        if not word.source:
            raise self.unexpected()
        return word

    # simple commands

    def simple(self) -> Command:
        begin, line = self.pos, self.line
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self.skip_blanks()
            if (redirect := self._redirect()) is not None:
                redirects.append(redirect)
                continue
            if self._ends_here():
                break
            if (not words or words[0].plain in DECLARING) and self._assigned(assignments, words):
                continue
            words.append(self.some_word())
            if len(words) == 1 and not assignments and not redirects and self.operator() == "(":
                return self._named_function(words[0])
        if not words and not assignments and not redirects:
            raise self.unexpected("a command is missing")
        source = self.text[begin : self.pos].strip()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), line, source)

    def _ends_here(self) -> bool:
        """Whether no word can begin here; `<(` and `>(` are words."""
        char = self.peek()
        return not char or (char in META and not (char in "<>" and self.text[self.pos + 1 :][:1] == "("))

    def _assigned(self, assignments: list[Assignment], words: list[Word]) -> bool:
        """Whether NAME=VALUE comes next, which is then read; behind `declare` and its like an array only."""
        found = _ASSIGNMENT.match(self.text, self.pos)
        if found is None or (words and self.text[found.end() : found.end() + 1] != "("):
            return False
        assignments.append(self._assignment(found))
        if words:
            words.append(self.sub_reader(found[1], self.line).word())
        return True

    def _named_function(self, word: Word) -> Command:
        if word.plain is None:
            raise self.unexpected()
        self.parentheses()
        return self.function_body(word.plain)

    def parentheses(self) -> None:
        self.expect("(")
        self.skip_blanks()
        self.expect(")")

    def _assignment(self, found: re.Match[str]) -> Assignment:
        line = self.line
        index = self.sub_reader(found[2], line).word() if found[2] is not None else None
        self.pos = found.end()
        value: Word | tuple[Word, ...]
        if self.at("("):
            self.pos += 1
            items = []
            self.skip_lines()
            while not self.at(")"):
                items.append(self.some_word())
                self.skip_lines()
            self.pos += 1
            value = tuple(items)
        else:
            value = self.word()
        return Assignment(found[1], value, index, found[3] == "+")

    def redirects(self) -> tuple[Redirect, ...]:
        found = []
        self.skip_blanks()
        while (redirect := self._redirect()) is not None:
            found.append(redirect)
            self.skip_blanks()
        return tuple(found)

    def _redirect(self) -> Redirect | None:
        found = _REDIRECT.match(self.text, self.pos)
        if found is None or (
            self.text[found.end() :].startswith("(") and found[2] in {"<", ">"} and not found[1]
        ):
            return None  # `<(` begins a word
        op = found[2] or found[3]
        fd = int(found[1]) if found[1] and found[1].isdigit() else None
        self.pos = found.end()
        self.skip_blanks()
        line = self.line
        target = self.some_word()
        if op not in {"<<", "<<-"}:
            return Redirect(op, target, fd)
        if (delimiter := target.literal) is None:
            raise self.error("the end of a here-document has an expansion")
        is_quoted = any(getattr(part, "quoted", False) for part in target.parts)
        document = HereDoc(delimiter, line, strips_tabs=op == "<<-", is_quoted=is_quoted)
        self.pending.append(document)
        return Redirect("<<", document, fd)

    # [[ ]]

    def condition(self) -> Command:
        begin, line = self.pos, self.line
        self.take_plain("[[")
        test = self._either()
        self.skip_lines()
        self.take_plain("]]")
        source = self.text[begin : self.pos].strip()
        return Condition(test, self.redirects(), line, source)

    def _either(self) -> Test:
        test = self._both()
        self.skip_lines()
        while self.at("||"):
            self.pos += 2
            test = Test("||", test, self._both())
            self.skip_lines()
        return test

    def _both(self) -> Test:
        test = self._one()
        self.skip_lines()
        while self.at("&&"):
            self.pos += 2
            test = Test("&&", test, self._one())
            self.skip_lines()
        return test

    def _one(self) -> Test:
        self.skip_lines()
        if self.peek_plain() == "!":
            self.take_plain("!")
            return Test("!", self._one())
        if self.at("("):
            self.pos += 1
            test = self._either()
            self.skip_lines()
            self.expect(")")
            return test
        first = self.some_word()
        op = self._test_operator()
        if first.plain in _UNARY and not op and not self._ends_condition():
            return Test(first.plain or "", self.some_word())
        if not op:
            return Test("-n", first)
        right = self.pattern_word() if op == "=~" else self.some_word()
        return Test(op, first, right)

    def _ends_condition(self) -> bool:
        self.skip_lines()
        return self.peek_plain() == "]]" or self.peek() in ("", ")") or self.at("&&") or self.at("||")

    def _test_operator(self) -> str:
        self.skip_blanks()
        op = self.peek() if self.peek() in ("<", ">") else self.peek_plain()
        if op not in _BINARY:
            return ""
        self.pos += len(op)
        self.skip_blanks()
        return op
