"""The language of `expect:`: comparisons of a run's figures.

    ttft.p99 < 300ms                              outcomes.ok == 100%
    spread.jain > 0.9 and prefix.reached > 80%    class[chat].e2e.p90 < 2 * class[code].e2e.p90
    arm[page].ttft.p90 < 0.8 * arm[round-robin].ttft.p90

    expression = and-terms joined by `or`; and-term = tests joined by `and`; test = [not] comparison
    comparison = sum (< | <= | > | >= | == | !=) sum, chains allowed: 10% < shed < 30%
    sum, product: + - * / with parentheses; number [unit]; figure = name { .name | [key] }
    functions: min(a, b, ...), max(a, b, ...), abs(a)

A name may hold hyphens inside (round-robin), so a minus needs a space on both sides. This file knows how to
read and evaluate; what figures there are is the caller's (`loadgen.judge.named_figures`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadgen.errors import ScenarioError
from loadgen.numbers.quantity import UNITS, DimensionError, Quantity

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+)
        \ ?(?P<unit>%|/s\b|tok/s\b|[A-Za-z]+\b(?<!and)(?<!or))?
    | (?P<key>\[[^\]]*\])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)
    | (?P<symbol><=|>=|==|!=|[<>()+\-*/.,])
    )""",
    re.VERBOSE,
)


def _same(a: float, b: float) -> bool:
    """Equal but for rounding of the last digits."""
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)) < math.inf


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b and not _same(a, b),
    "<=": lambda a, b: a < b or _same(a, b),
    ">": lambda a, b: a > b and not _same(a, b),
    ">=": lambda a, b: a > b or _same(a, b),
    "==": _same,
    "!=": lambda a, b: not _same(a, b),
}
_FUNCTIONS = ("min", "max", "abs")
NO_VALUE = "no value"


class ExpectError(ScenarioError):
    """An expectation that cannot be read or evaluated; says at which character."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message}\n  {text}\n  {' ' * position}^")
        self.text, self.position, self.message = text, position, message


# Gives a figure by its path (`class[chat].ttft.p99`), NaN when this run has no value for it. Raises KeyError,
# with words for the user, when there is no such figure.
Lookup = Callable[[str], Quantity]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one expectation; `seen` names the figures in it with their values."""

    text: str
    passed: bool
    seen: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    unit: str = ""


def check(text: str) -> None:
    """Raises ExpectError when `text` is not an expectation; figures are not looked up."""
    _Reader(text, None).read()


def judge(text: str, lookup: Lookup) -> Judgement:
    """Evaluate one expectation; ExpectError when it cannot be: the scenario's fault, not the run's."""
    reader = _Reader(text, lookup)
    passed = reader.read()
    if passed is None:
        missing = [name for name, value in reader.seen.items() if value == NO_VALUE]
        return Judgement(
            text, False, reader.seen, f"{', '.join(missing) or 'a quotient'} has no value in this run"
        )
    return Judgement(text, passed, reader.seen)


class _Reader:
    """Recursive descent that evaluates as it reads; with no lookup it only checks the grammar.

    Tests are three-valued: None is a comparison with a figure that has no value. It decides the whole
    unless the rest does: `missing < 1 or 1 < 2` holds.
    """

    def __init__(self, text: str, lookup: Lookup | None) -> None:
        self.text = text
        self.lookup = lookup
        self.seen: dict[str, str] = {}
        self._tokens = _tokens(text)
        self._at = 0

    def read(self) -> bool | None:
        value = self._any()
        token = self._peek()
        if token.kind != "end":
            raise self._error(token, f"{token.text!r} does not belong here")
        return value

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _take(self, *texts: str) -> _Token | None:
        if self._peek().text in texts and self._peek().kind in ("word", "symbol"):
            return self._next()
        return None

    def _need(self, text: str) -> None:
        if not self._take(text):
            token = self._peek()
            found = "the end" if token.kind == "end" else repr(token.text)
            raise self._error(token, f"expected {text!r}, found {found}")

    def _error(self, token: _Token, message: str) -> ExpectError:
        return ExpectError(self.text, token.position, message)

    def _any(self) -> bool | None:
        values = [self._all()]
        while self._take("or"):
            values.append(self._all())
        return True if True in values else None if None in values else False

    def _all(self) -> bool | None:
        values = [self._test()]
        while self._take("and"):
            values.append(self._test())
        return False if False in values else None if None in values else True

    def _test(self) -> bool | None:
        if self._take("not"):
            value = self._test()
            return None if value is None else not value
        if self._peek().text != "(":
            return self._comparison()
        return self._parenthesis()

    def _parenthesis(self) -> bool | None:
        """A parenthesis opens a test or a sum: try the test, fall back to the sum, blame who got further."""
        start = self._at
        problem: ExpectError | None = None
        try:
            self._need("(")
            value = self._any()
            self._need(")")
            if self._peek().text not in (*_COMPARE, "+", "-", "*", "/"):
                return value
        except ExpectError as error:
            problem = error
        self._at = start
        try:
            return self._comparison()
        except ExpectError as error:
            raise problem if problem and problem.position > error.position else error from None

    def _comparison(self) -> bool | None:
        left = self._sum()
        operator = self._take(*_COMPARE)
        if operator is None:
            raise self._error(self._peek(), "expected a comparison: one of < <= > >= == !=")
        results: list[bool | None] = []
        while operator is not None:
            right = self._sum()
            self._combine(left, right, operator, "compare")
            unknown = math.isnan(left.value) or math.isnan(right.value)
            results.append(None if unknown else _COMPARE[operator.text](left.value, right.value))
            left, operator = right, self._take(*_COMPARE)
        return False if False in results else None if None in results else True

    def _combine(self, left: Quantity, right: Quantity, token: _Token, what: str) -> Quantity:
        try:
            dimension = left.combined(right, what) if self.lookup else left.dimension
        except DimensionError as error:
            raise self._error(token, str(error)) from error
        return Quantity(left.value, dimension)

    def _sum(self) -> Quantity:
        left = self._product()
        while token := self._take("+", "-"):
            right = self._product()
            dimension = self._combine(left, right, token, "add").dimension
            left = Quantity(left.value + (right.value if token.text == "+" else -right.value), dimension)
        return left

    def _product(self) -> Quantity:
        left = self._factor()
        while token := self._take("*", "/"):
            right = self._factor()
            try:
                left = left.times(right) if token.text == "*" else left.over(right)
            except DimensionError as error:
                if self.lookup:
                    raise self._error(token, str(error)) from error
        return left

    def _factor(self) -> Quantity:
        token = self._next()
        if token.kind == "number":
            scale, dimension = UNITS[token.unit] if token.unit else (1.0, "number")
            return Quantity(float(token.text) * scale, dimension)
        if token.kind == "symbol" and token.text == "-":
            inner = self._factor()
            return Quantity(-inner.value, inner.dimension)
        if token.kind == "symbol" and token.text == "(":
            inner = self._sum()
            self._need(")")
            return inner
        if token.kind == "word" and token.text in _FUNCTIONS and self._peek().text == "(":
            return self._function(token)
        if token.kind == "word" and token.text not in ("and", "or", "not"):
            return self._figure(token)
        found = "the end" if token.kind == "end" else repr(token.text)
        raise self._error(token, f"expected a figure or a number, found {found}")

    def _function(self, name: _Token) -> Quantity:
        self._need("(")
        values = [self._sum()]
        while comma := self._take(","):
            values.append(self._sum())
            self._combine(values[0], values[-1], comma, "compare")
        self._need(")")
        if name.text == "abs":
            return Quantity(abs(values[0].value), values[0].dimension)
        pick = min if name.text == "min" else max
        return Quantity(pick(value.value for value in values), values[0].dimension)

    def _figure(self, first: _Token) -> Quantity:
        path = first.text
        while True:
            if self._take("."):
                token = self._next()
                if token.kind not in ("word", "number"):
                    raise self._error(token, "expected a name after the point")
                path += "." + token.text
            elif self._peek().kind == "key":
                path += self._next().text
            else:
                break
        if self.lookup is None:
            return Quantity(0.0)
        try:
            value = self.lookup(path)
        except KeyError as error:
            raise self._error(first, error.args[0]) from error
        self.seen[path] = NO_VALUE if math.isnan(value.value) else str(value)
        return value


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpectError(text, at, f"cannot read {text[at]!r}")
        kind = str(match.lastgroup if match.lastgroup != "unit" else "number")
        unit = match["unit"] or ""
        if unit and unit not in UNITS:
            raise ExpectError(text, match.start("unit"), f"no unit {unit!r}; there are {', '.join(UNITS)}")
        tokens.append(_Token(kind, match[kind], match.start(kind), unit))
        at = match.end()
    return [*tokens, _Token("end", "", len(text))]
