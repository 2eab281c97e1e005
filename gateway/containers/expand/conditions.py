"""`test`, `[ ]` and `[[ ]]` in three values: true, false, or why it cannot be known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gateway.containers.expand.expansion import Expander
from gateway.containers.expand.patterns import expression, matches
from gateway.containers.expand.values import Unknown, Value
from gateway.containers.grammar.syntax import Test, Word
from gateway.errors import ScriptError

Truth = bool | Unknown
Exists = Callable[[str, str], Truth]  # a file test's letter and a path of the container
_FILE_TESTS = frozenset("abcdefghkprstuwxGLNOS")
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b, "-ne": lambda a, b: a != b, "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b, "-gt": lambda a, b: a > b, "-ge": lambda a, b: a >= b,
}  # fmt: skip
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}  # fmt: skip


class BadTestError(Exception):
    """A test that a shell complains of; its status is 2 and the script goes on."""


def negated(truth: Truth) -> Truth:
    return truth if isinstance(truth, Unknown) else not truth


class Tester:
    """Answers tests; `exists` is asked for files."""

    def __init__(self, expander: Expander, exists: Exists, line: int) -> None:
        self._expander = expander
        self._exists = exists
        self._line = line
        self._words: Sequence[Value] = ()
        self._at = 0

    # [ ]

    def words(self, words: Sequence[Value]) -> Truth:
        """`test WORDS`; a BadTestError where a shell complains."""
        self._words = words
        self._at = 0
        simple = self._by_count(words)
        if simple is not None:
            return simple
        truth = self._either()
        if self._at != len(words):
            raise BadTestError("too many arguments")
        return truth

    def _by_count(self, words: Sequence[Value]) -> Truth | None:
        """Up to four words mean what POSIX says, whatever they look like."""
        count = len(words)
        if count == 0:
            return False
        if count == 1:
            return self._unary("-n", words[0])
        if count == 2:
            if words[0] == "!":
                return negated(self._unary("-n", words[1]))
            return self._unary(_known(words[0]), words[1])
        if count == 3:
            if _is_binary(words[1]):
                return self._binary(words[0], _known(words[1]), words[2])
            if words[0] == "!":
                return negated(self._by_count(words[1:]) or False)
            if words[0] == "(" and words[2] == ")":
                return self._unary("-n", words[1])
        if count == 4 and words[0] == "!":
            inner = self._by_count(words[1:])
            return None if inner is None else negated(inner)
        return None

    def _peek(self) -> Value | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _take(self) -> Value:
        value = self._peek()
        if value is None:
            raise BadTestError("an argument is missing")
        self._at += 1
        return value

    def _either(self) -> Truth:
        truth = self._both()
        while self._peek() == "-o":
            self._at += 1
            truth = _or(truth, self._both())
        return truth

    def _both(self) -> Truth:
        truth = self._one()
        while self._peek() == "-a":
            self._at += 1
            truth = _and(truth, self._one())
        return truth

    def _one(self) -> Truth:
        word = self._take()
        if word == "!":
            return negated(self._one())
        if word == "(":
            truth = self._either()
            if self._take() != ")":
                raise BadTestError("a ) is missing")
            return truth
        follows = self._peek()
        if follows is not None and _is_binary(follows) and self._at + 1 < len(self._words):
            self._at += 1
            return self._binary(word, _known(follows), self._take())
        if (
            isinstance(word, str)
            and len(word) == 2
            and word[0] == "-"
            and follows not in (None, "-a", "-o", ")")
        ):
            return self._unary(word, self._take())
        return self._unary("-n", word)

    # [[ ]]

    def condition(self, test: Test | Word | None) -> Truth:
        """A part of `[[ ]]`; the right side of && and || is not looked at where the left decides."""
        assert isinstance(test, Test)
        if test.op == "!":
            return negated(self.condition(test.left))
        if test.op in {"&&", "||"}:
            left = self.condition(test.left)
            if left is (test.op == "||"):
                return left
            right = self.condition(test.right)
            return _and(left, right) if test.op == "&&" else _or(left, right)
        assert isinstance(test.left, Word)
        left_value = self._expander.value(test.left)
        if test.right is None:
            return self._unary(test.op, left_value)
        assert isinstance(test.right, Word)
        if test.op in {"=", "==", "!=", "=~"}:
            return self._matched(test.op, left_value, test.right)
        if test.op in _NUMBERS:
            return self._reckoned(left_value, test.op, self._expander.value(test.right))
        return self._binary(left_value, test.op, self._expander.value(test.right))

    def _reckoned(self, left: Value, op: str, right: Value) -> Truth:
        """Numbers in `[[ ]]` are arithmetic."""
        numbers = []
        for value in (left, right):
            number = value if isinstance(value, Unknown) else self._expander.reckon(value, self._line)
            if isinstance(number, Unknown):
                return number
            numbers.append(number)
        return _NUMBERS[op](numbers[0], numbers[1])

    def _matched(self, op: str, left: Value, right: Word) -> Truth:
        tokens = self._expander.tokens(right)
        if isinstance(left, Unknown):
            return left
        if isinstance(tokens, Unknown):
            return tokens
        if op != "=~":
            return matches(tokens, left) == (op != "!=")
        try:
            found = re.search(expression(tokens), left)
        except re.error:
            raise ScriptError(f"the expression {right.source} cannot be read", self._line) from None
        groups = {} if found is None else {i: found[i] or "" for i in range(len(found.groups()) + 1)}
        self._expander.state.set("BASH_REMATCH", dict(groups))
        return found is not None

    # single tests

    def _unary(self, op: str, value: Value) -> Truth:
        if op in {"-n", "-z"}:
            return value if isinstance(value, Unknown) else bool(value) == (op == "-n")
        if op in {"-v", "-R"} and isinstance(value, str):
            name = value.partition("[")[0]
            found = self._expander.state.get(name, self._line)
            return found if isinstance(found, Unknown) else found is not None
        if op == "-o" and isinstance(value, str):
            names = {"errexit": "e", "nounset": "u", "noglob": "f", "allexport": "a"}
            return names.get(value, value) in self._expander.state.options
        if op == "-t":
            return False  # a container has no terminal
        if len(op) == 2 and op[0] == "-" and op[1] in _FILE_TESTS:
            return value if isinstance(value, Unknown) else self._exists(op[1], value)
        raise BadTestError(f"{op} is no test")

    def _binary(self, left: Value, op: str, right: Value) -> Truth:
        unknown = next((v for v in (left, right) if isinstance(v, Unknown)), None)
        if unknown is not None:
            return unknown
        assert isinstance(left, str)
        assert isinstance(right, str)
        if op in _TEXTS:
            return _TEXTS[op](left, right)
        if op in _NUMBERS:
            try:
                return _NUMBERS[op](_integer(left), _integer(right))
            except ValueError:
                raise BadTestError(f"{left} {op} {right}: an integer is expected") from None
        return Unknown(f"{left} {op} {right}", self._line)


def _integer(text: str) -> int:
    if not re.fullmatch(r"\s*[-+]?\d+\s*", text, re.ASCII):
        raise ValueError(text)
    return int(text)


def _known(value: Value) -> str:
    if isinstance(value, Unknown):
        raise ScriptError(f"a test whose operator is unknown: {value}", value.line)
    return value


def _is_binary(value: Value) -> bool:
    return value in _TEXTS or value in _NUMBERS or value in ("-nt", "-ot", "-ef")


def _and(left: Truth, right: Truth) -> Truth:
    if left is False or right is False:
        return False
    return next((t for t in (left, right) if isinstance(t, Unknown)), True)


def _or(left: Truth, right: Truth) -> Truth:
    if left is True or right is True:
        return True
    return next((t for t in (left, right) if isinstance(t, Unknown)), False)
