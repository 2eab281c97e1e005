"""Commands of a shell script: lists, pipelines, compound commands, functions.

The grammar of POSIX.1-2024, 2.10, and of bash where it goes beyond. `select` and `coproc` are refused by
name.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.containers.grammar.simple import SimpleReader
from gateway.containers.grammar.syntax import (
    AndOr,
    ArithmeticFor,
    Block,
    Case,
    Clause,
    Command,
    For,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Reckoning,
    Word,
)


class Parser(SimpleReader):
    """Reads the whole script, or a part of it up to where it ends. Raises ScriptError."""

    def script(self) -> Block:
        """All commands; a ScriptError for what is left over, and for what cannot be read."""
        return self.block_until("")

    def block_until(self, closer: str) -> Block:
        block = self._block(frozenset())
        if closer:
            if not self.at(closer):
                raise self.unexpected(f"{closer!r} is missing")
            self.pos += len(closer)
        elif self.pos < len(self.text):
            raise self.unexpected()
        return block

    def _block(self, ends: frozenset[str]) -> Block:
        self.depth += 1
        if self.depth > 60:  # as for words
            raise self.error("is nested too deeply to be read")
        items: list[AndOr] = []
        while True:
            self.skip_lines()
            if not self.peek() or self.peek() == ")" or self.at(";;") or self.at(";&"):
                break
            if self.peek_plain() in ends:
                break
            items.append(self._and_or())
        self.depth -= 1
        return tuple(items)

    def _and_or(self) -> AndOr:
        first = self._pipeline()
        rest: list[tuple[str, Pipeline]] = []
        while (op := self.operator()) in {"&&", "||"}:
            self.pos += 2
            self.skip_lines()
            rest.append((op, self._pipeline()))
        is_background = op == "&"
        if op in {"&", ";"}:
            self.pos += 1
        elif op not in {"", "\n", ")", ";;", ";&", ";;&"}:
            raise self.unexpected()
        return AndOr(first, tuple(rest), is_background)

    def _pipeline(self) -> Pipeline:
        self.skip_blanks()
        begin, line, is_negated = self.pos, self.line, False
        while (word := self.peek_plain()) in {"!", "time"}:
            self.take_plain(word)
            is_negated ^= word == "!"
            while word == "time" and self.peek_plain() == "-p":
                self.take_plain("-p")
        commands = [self._command()]
        while (op := self.operator()) in {"|", "|&"}:
            self.pos += len(op)
            self.skip_lines()
            commands.append(self._command())
        return Pipeline(tuple(commands), is_negated, line, self.text[begin : self.pos].strip())

    def _command(self) -> Command:
        self.skip_blanks()
        line = self.line
        if self.at("(("):
            begin, depth = self.pos, self.depth
            self.pos += 2
            text = self.arithmetic(")")
            if self.at("))"):
                self.pos += 2
                source = self.text[begin : self.pos]
                return Reckoning(text, self.redirects(), line, source)
            self.pos, self.depth = begin, depth
        if self.at("("):
            self.pos += 1
            return Group(self.block_until(")"), True, self.redirects(), line)
        word = self.peek_plain()
        if word in {"select", "coproc"}:
            raise self.error(f"{word} is not read")
        compound = {
            "{": self._group, "if": self._if, "while": self._loop, "until": self._loop, "for": self._for,
            "case": self._case, "function": self._function, "[[": self.condition,
        }  # fmt: skip
        if word in compound:
            return compound[word]()
        if word in {"then", "else", "elif", "fi", "do", "done", "esac", "in", "}"} and word != "in":
            raise self.unexpected()
        return self.simple()

    def _group(self) -> Command:
        line = self.line
        self.take_plain("{")
        body = self._block(frozenset({"}"}))
        self.take_plain("}")
        return Group(body, False, self.redirects(), line)

    def _if(self) -> Command:
        line = self.line
        self.take_plain("if")
        branches, otherwise = [], None
        while True:
            condition = self._block(frozenset({"then"}))
            self.take_plain("then")
            branches.append((condition, self._block(frozenset({"elif", "else", "fi"}))))
            if self.peek_plain() != "elif":
                break
            self.take_plain("elif")
        if self.peek_plain() == "else":
            self.take_plain("else")
            otherwise = self._block(frozenset({"fi"}))
        self.take_plain("fi")
        return If(tuple(branches), otherwise, self.redirects(), line)

    def _loop(self) -> Command:
        line, word = self.line, self.peek_plain()
        self.take_plain(word)
        condition = self._block(frozenset({"do"}))
        body = self._do()
        return Loop(condition, body, word == "until", self.redirects(), line)

    def _do(self) -> Block:
        self.skip_lines()
        if self.operator() == ";":
            self.pos += 1
            self.skip_lines()
        self.take_plain("do")
        body = self._block(frozenset({"done"}))
        self.take_plain("done")
        return body

    def _for(self) -> Command:
        line = self.line
        self.take_plain("for")
        if self.at("(("):
            self.pos += 2
            parts = [self.arithmetic(";"), Word((), "", line), Word((), "", line)]
            for i in (1, 2):
                self.expect(";")
                parts[i] = self.arithmetic(";" if i == 1 else ")")
            self.expect("))")
            return ArithmeticFor(parts[0], parts[1], parts[2], self._do(), self.redirects(), line)
        name = self.peek_plain()
        self.take_plain(name)
        self.skip_lines()
        words: tuple[Word, ...] | None = None
        if self.peek_plain() == "in":
            self.take_plain("in")
            words = tuple(self._words())
        return For(name, words, self._do(), self.redirects(), line)

    def _words(self, ends: str = "\n;&|<>()") -> list[Word]:
        words = []
        self.skip_blanks()
        while self.peek() and self.peek() not in ends:
            words.append(self.some_word())
            self.skip_blanks()
        return words

    def _case(self) -> Command:
        line = self.line
        self.take_plain("case")
        word = self.some_word()
        self.skip_lines()
        self.take_plain("in")
        clauses = []
        self.skip_lines()
        while self.peek_plain() != "esac":
            if self.operator() == "(":
                self.pos += 1
            patterns = [self._pattern()]
            while self.operator() == "|":
                self.pos += 1
                patterns.append(self._pattern())
            self.expect(")")
            body = self._block(frozenset({"esac"}))
            end = self.operator()
            if end in {";;", ";&", ";;&"}:
                self.pos += len(end)
            else:
                end = ";;"
            clauses.append(Clause(tuple(patterns), body, end))
            self.skip_lines()
        self.take_plain("esac")
        return Case(word, tuple(clauses), self.redirects(), line)

    def _pattern(self) -> Word:
        self.skip_blanks()
        return self.some_word()

    def _function(self) -> Command:
        self.take_plain("function")
        name = self.peek_plain()
        self.take_plain(name)
        if self.at("("):
            self.parentheses()
        return self.function_body(name)

    def function_body(self, name: str) -> Command:
        line = self.line
        self.skip_lines()
        return Function(name, self._command(), line)


@lru_cache(maxsize=256)
def parse(text: str, line: int = 1) -> Block:
    """The commands of a script whose first line has the number `line`; a ScriptError for what is none."""
    return Parser(text, line).script()
