"""Words of a shell script -> its commands: lists, pipelines, compound commands, redirections.

The grammar of POSIX.1-2024, 2.10, and of bash where it goes beyond. `select` and `coproc` are refused by name.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.containers.grammar.syntax import (
    AndOr,
    ArithmeticFor,
    Assignment,
    Block,
    Case,
    Clause,
    Command,
    Condition,
    For,
    Function,
    Group,
    HereDoc,
    If,
    Loop,
    Pipeline,
    Reckoning,
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


class Parser(WordReader):
    """Reads the whole script, or a part of it up to where it ends."""

    def script(self) -> Block:
        """All commands; a ScriptError for what is left over, and for what cannot be read."""
        return self.block_until("")

    # lists

    def block_until(self, closer: str) -> Block:
        block = self._block(frozenset())
        if closer:
            if not self.at(closer):
                raise self._unexpected(f"{closer!r} is missing")
            self.pos += len(closer)
        elif self.pos < len(self.text):
            raise self._unexpected()
        return block

    def _unexpected(self, otherwise: str = "") -> ScriptError:
        found = self.text[self.pos : self.pos + 30].split("\n")[0]
        return self.error(
            f"a shell would not take this: {found!r}" if found else otherwise or "ends too early"
        )

    def _block(self, ends: frozenset[str]) -> Block:
        self.depth += 1
        if self.depth > 60:  # as for words
            raise self.error("is nested too deeply to be read")
        items: list[AndOr] = []
        while True:
            self._skip_lines()
            if not self.peek() or self.peek() == ")" or self.at(";;") or self.at(";&"):
                break
            if self._peek_plain() in ends:
                break
            items.append(self._and_or())
        self.depth -= 1
        return tuple(items)

    def _and_or(self) -> AndOr:
        first = self._pipeline()
        rest: list[tuple[str, Pipeline]] = []
        while (op := self._operator()) in {"&&", "||"}:
            self.pos += 2
            self._skip_lines()
            rest.append((op, self._pipeline()))
        is_background = op == "&"
        if op in {"&", ";"}:
            self.pos += 1
        elif op not in {"", "\n", ")", ";;", ";&", ";;&"}:
            raise self._unexpected()
        return AndOr(first, tuple(rest), is_background)

    def _pipeline(self) -> Pipeline:
        self._skip_blanks()
        begin, line, is_negated = self.pos, self.line, False
        while (word := self._peek_plain()) in {"!", "time"}:
            self._take_plain(word)
            is_negated ^= word == "!"
            while word == "time" and self._peek_plain() == "-p":
                self._take_plain("-p")
        commands = [self._command()]
        while (op := self._operator()) in {"|", "|&"}:
            self.pos += len(op)
            self._skip_lines()
            commands.append(self._command())
        return Pipeline(tuple(commands), is_negated, line, self.text[begin : self.pos].strip())

    def _operator(self) -> str:
        self._skip_blanks()
        return next((op for op in _OPERATORS if self.at(op)), self.peek())

    def _skip_blanks(self) -> None:
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

    def _skip_lines(self) -> None:
        self._skip_blanks()
        while self.at("\n"):
            self.pos += 1
            self.read_pending()
            self._skip_blanks()

    def _peek_plain(self) -> str:
        """The unquoted word that stands here, as reserved words do; empty for any other."""
        self._skip_blanks()
        found = _PLAIN.match(self.text, self.pos)
        if found is None or (found.end() < len(self.text) and self.text[found.end()] not in META):
            return ""
        return found[0]

    def _take_plain(self, word: str) -> None:
        if self._peek_plain() != word:
            raise self._unexpected(f"{word!r} is missing")
        self.pos += len(word)
        self._skip_blanks()

    # commands

    def _command(self) -> Command:
        self._skip_blanks()
        line = self.line
        if self.at("(("):
            begin, depth = self.pos, self.depth
            self.pos += 2
            text = self.arithmetic(")")
            if self.at("))"):
                self.pos += 2
                source = self.text[begin : self.pos]
                return Reckoning(text, self._redirects(), line, source)
            self.pos, self.depth = begin, depth
        if self.at("("):
            self.pos += 1
            return Group(self.block_until(")"), True, self._redirects(), line)
        word = self._peek_plain()
        if word in {"select", "coproc"}:
            raise self.error(f"{word} is not read")
        compound = {
            "{": self._group, "if": self._if, "while": self._loop, "until": self._loop, "for": self._for,
            "case": self._case, "function": self._function, "[[": self._condition,
        }  # fmt: skip
        if word in compound:
            return compound[word]()
        if word in {"then", "else", "elif", "fi", "do", "done", "esac", "in", "}"} and word != "in":
            raise self._unexpected()
        return self._simple()

    def _group(self) -> Command:
        line = self.line
        self._take_plain("{")
        body = self._block(frozenset({"}"}))
        self._take_plain("}")
        return Group(body, False, self._redirects(), line)

    def _if(self) -> Command:
        line = self.line
        self._take_plain("if")
        branches, otherwise = [], None
        while True:
            condition = self._block(frozenset({"then"}))
            self._take_plain("then")
            branches.append((condition, self._block(frozenset({"elif", "else", "fi"}))))
            if self._peek_plain() != "elif":
                break
            self._take_plain("elif")
        if self._peek_plain() == "else":
            self._take_plain("else")
            otherwise = self._block(frozenset({"fi"}))
        self._take_plain("fi")
        return If(tuple(branches), otherwise, self._redirects(), line)

    def _loop(self) -> Command:
        line, word = self.line, self._peek_plain()
        self._take_plain(word)
        condition = self._block(frozenset({"do"}))
        body = self._do()
        return Loop(condition, body, word == "until", self._redirects(), line)

    def _do(self) -> Block:
        self._skip_lines()
        if self._operator() == ";":
            self.pos += 1
            self._skip_lines()
        self._take_plain("do")
        body = self._block(frozenset({"done"}))
        self._take_plain("done")
        return body

    def _for(self) -> Command:
        line = self.line
        self._take_plain("for")
        if self.at("(("):
            self.pos += 2
            parts = [self.arithmetic(";"), Word((), "", line), Word((), "", line)]
            for i in (1, 2):
                self._expect(";")
                parts[i] = self.arithmetic(";" if i == 1 else ")")
            self._expect("))")
            return ArithmeticFor(parts[0], parts[1], parts[2], self._do(), self._redirects(), line)
        name = self._peek_plain()
        self._take_plain(name)
        self._skip_lines()
        words: tuple[Word, ...] | None = None
        if self._peek_plain() == "in":
            self._take_plain("in")
            words = tuple(self._words())
        return For(name, words, self._do(), self._redirects(), line)

    def _expect(self, text: str) -> None:
        if not self.at(text):
            raise self._unexpected(f"{text!r} is missing")
        self.pos += len(text)

    def _words(self, ends: str = "\n;&|<>()") -> list[Word]:
        words = []
        self._skip_blanks()
        while self.peek() and self.peek() not in ends:
            words.append(self._some_word())
            self._skip_blanks()
        return words

    def _some_word(self) -> Word:
        word = self.word()
        if not word.source:
            raise self._unexpected()
        return word

    def _case(self) -> Command:
        line = self.line
        self._take_plain("case")
        word = self._some_word()
        self._skip_lines()
        self._take_plain("in")
        clauses = []
        self._skip_lines()
        while self._peek_plain() != "esac":
            if self._operator() == "(":
                self.pos += 1
            patterns = [self._pattern()]
            while self._operator() == "|":
                self.pos += 1
                patterns.append(self._pattern())
            self._expect(")")
            body = self._block(frozenset({"esac"}))
            end = self._operator()
            if end in {";;", ";&", ";;&"}:
                self.pos += len(end)
            else:
                end = ";;"
            clauses.append(Clause(tuple(patterns), body, end))
            self._skip_lines()
        self._take_plain("esac")
        return Case(word, tuple(clauses), self._redirects(), line)

    def _pattern(self) -> Word:
        self._skip_blanks()
        return self._some_word()

    def _function(self) -> Command:
        self._take_plain("function")
        name = self._peek_plain()
        self._take_plain(name)
        if self.at("("):
            self._parentheses()
        return self._function_body(name)

    def _parentheses(self) -> None:
        self._expect("(")
        self._skip_blanks()
        self._expect(")")

    def _function_body(self, name: str) -> Command:
        line = self.line
        self._skip_lines()
        return Function(name, self._command(), line)

    # simple commands

    def _simple(self) -> Command:
        begin, line = self.pos, self.line
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self._skip_blanks()
            if (redirect := self._redirect()) is not None:
                redirects.append(redirect)
                continue
            char = self.peek()
            if not char or (char in META and not (char in "<>" and self.text[self.pos + 1 :][:1] == "(")):
                break
            declares = bool(words) and words[0].plain in DECLARING
            if (not words or declares) and (found := _ASSIGNMENT.match(self.text, self.pos)):
                is_array = self.text[found.end() : found.end() + 1] == "("
                if not words or is_array:
                    assignments.append(self._assignment(found))
                    if words:
                        words.append(Parser(found[1], self.line).word())
                    continue
            words.append(self._some_word())
            if len(words) == 1 and not assignments and not redirects and self._operator() == "(":
                return self._named_function(words[0])
        if not words and not assignments and not redirects:
            raise self._unexpected("a command is missing")
        source = self.text[begin : self.pos].strip()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), line, source)

    def _named_function(self, word: Word) -> Command:
        if word.plain is None:
            raise self._unexpected()
        self._parentheses()
        return self._function_body(word.plain)

    def _assignment(self, found: re.Match[str]) -> Assignment:
        line = self.line
        index = Parser(found[2], line, self.depth).word() if found[2] is not None else None
        self.pos = found.end()
        value: Word | tuple[Word, ...]
        if self.at("("):
            self.pos += 1
            items = []
            self._skip_lines()
            while not self.at(")"):
                items.append(self._some_word())
                self._skip_lines()
            self.pos += 1
            value = tuple(items)
        else:
            value = self.word()
        return Assignment(found[1], value, index, found[3] == "+")

    def _redirects(self) -> tuple[Redirect, ...]:
        found = []
        self._skip_blanks()
        while (redirect := self._redirect()) is not None:
            found.append(redirect)
            self._skip_blanks()
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
        self._skip_blanks()
        line = self.line
        target = self._some_word()
        if op not in {"<<", "<<-"}:
            return Redirect(op, target, fd)
        if (delimiter := target.literal) is None:
            raise self.error("the end of a here-document has an expansion")
        is_quoted = any(getattr(part, "quoted", False) for part in target.parts)
        document = HereDoc(delimiter, line, strips_tabs=op == "<<-", is_quoted=is_quoted)
        self.pending.append(document)
        return Redirect("<<", document, fd)

    # [[ ]]

    def _condition(self) -> Command:
        begin, line = self.pos, self.line
        self._take_plain("[[")
        test = self._either()
        self._skip_lines()
        self._take_plain("]]")
        source = self.text[begin : self.pos].strip()
        return Condition(test, self._redirects(), line, source)

    def _either(self) -> Test:
        test = self._both()
        self._skip_lines()
        while self.at("||"):
            self.pos += 2
            test = Test("||", test, self._both())
            self._skip_lines()
        return test

    def _both(self) -> Test:
        test = self._one()
        self._skip_lines()
        while self.at("&&"):
            self.pos += 2
            test = Test("&&", test, self._one())
            self._skip_lines()
        return test

    def _one(self) -> Test:
        self._skip_lines()
        if self._peek_plain() == "!":
            self._take_plain("!")
            return Test("!", self._one())
        if self.at("("):
            self.pos += 1
            test = self._either()
            self._skip_lines()
            self._expect(")")
            return test
        first = self._some_word()
        op = self._test_operator()
        if first.plain in _UNARY and not op and not self._ends_condition():
            return Test(first.plain or "", self._some_word())
        if not op:
            return Test("-n", first)
        right = self.pattern_word() if op == "=~" else self._some_word()
        return Test(op, first, right)

    def _ends_condition(self) -> bool:
        self._skip_lines()
        return self._peek_plain() == "]]" or self.peek() in ("", ")") or self.at("&&") or self.at("||")

    def _test_operator(self) -> str:
        self._skip_blanks()
        op = self.peek() if self.peek() in ("<", ">") else self._peek_plain()
        if op not in _BINARY:
            return ""
        self.pos += len(op)
        self._skip_blanks()
        return op


@lru_cache(maxsize=256)
def parse(text: str, line: int = 1) -> Block:
    """The commands of a script whose first line has the number `line`; a ScriptError for what is none."""
    return Parser(text, line).script()
