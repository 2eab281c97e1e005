"""`$(( ))` as bash reckons: 64 bits, C's operators, names without a dollar. What is not known stays so."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.containers.expand.values import Unknown, Value
from gateway.errors import BadArithmeticError

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+#\w+|\d+|[A-Za-z_]\w*(?:\[[^\]]*\])?"
    r"|<<=|>>=|\*\*|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&^|]=|[-+*/%<>=!~&|^?:,()])"
)
# operator -> how tightly it binds; C's order
_BINDING = {
    ",": 1, "=": 2, "?": 3, "||": 4, "&&": 5, "|": 6, "^": 7, "&": 8, "==": 9, "!=": 9, "<": 10, ">": 10,
    "<=": 10, ">=": 10, "<<": 11, ">>": 11, "+": 12, "-": 12, "*": 13, "/": 13, "%": 13, "**": 15,
}  # fmt: skip
_ASSIGNING = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
_DEEPEST = 50  # names that stand for names, and parentheses
_LONGEST = 4096  # characters of one expression


class UnknownNumberError(Exception):
    """Part of an expression is not known."""

    def __init__(self, value: Unknown) -> None:
        self.value = value
        super().__init__(str(value))


def _wrapped(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


class Reckoner:
    """Evaluates expressions over variables that `read` knows and `write` changes.

    Raises BadArithmeticError for what is no expression and UnknownNumberError for what nobody knows.
    """

    def __init__(
        self,
        read: Callable[[str], Value | None],
        write: Callable[[str, str], None],
        line: int,
        depth: int = 0,
    ) -> None:
        self._read = read
        self._write = write
        self._line = line
        self._depth = depth
        self._tokens: list[str] = []
        self._at = 0
        self._silent = 0  # inside a branch that is not taken: nothing is assigned or divided

    def value(self, text: str) -> int:
        """The value of an expression; an empty one is 0."""
        if self._depth > _DEEPEST or len(text) > _LONGEST:
            raise BadArithmeticError(f"the arithmetic {text[:40]!r} goes too deep", self._line)
        self._tokens, position = [], 0
        stripped = text.rstrip()
        while position < len(stripped):
            found = _TOKEN.match(stripped, position)
            if found is None:
                raise BadArithmeticError(f"{text.strip()!r} is not arithmetic", self._line)
            self._tokens.append(found[1])
            position = found.end()
        self._at = 0
        if not self._tokens:
            return 0
        result = self._expression(0, 0)
        if self._at < len(self._tokens):
            raise BadArithmeticError(f"{text.strip()!r} is not arithmetic", self._line)
        return result

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expression(self, least: int, depth: int) -> int:
        if depth > _DEEPEST:
            raise BadArithmeticError("arithmetic is nested too deeply", self._line)
        left = self._operand(depth)
        while (op := self._peek()) in _BINDING and _BINDING[op] >= max(least, 1):
            self._next()
            left = self._binary(op, left, depth + 1)
        return left

    def _binary(self, op: str, left: int, depth: int) -> int:
        binding = _BINDING[op]
        if op == "?":
            return self._choice(left, depth)
        if op in {"&&", "||"}:
            decided = bool(left) == (op == "||")
            right = self._quietly(decided, lambda: self._expression(binding + 1, depth))
            return int(op == "||") if decided else int(bool(right))
        right = self._expression(binding if op == "**" else binding + 1, depth)
        return _wrapped(self._operation(op, left, right))

    def _choice(self, condition: int, depth: int) -> int:
        first = self._quietly(not condition, lambda: self._expression(2, depth))
        if self._next() != ":":
            raise BadArithmeticError("arithmetic has a ? without a :", self._line)
        second = self._quietly(bool(condition), lambda: self._expression(3, depth))
        return first if condition else second

    def _quietly(self, quiet: bool, read: Callable[[], int]) -> int:
        self._silent += quiet
        try:
            return read()
        finally:
            self._silent -= quiet

    def _operation(self, op: str, left: int, right: int) -> int:
        if op in {"/", "%"}:
            if right == 0:
                if self._silent:
                    return 0
                raise BadArithmeticError("division by zero", self._line)
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            return quotient if op == "/" else left - right * quotient
        if op == "**":
            if right < 0:
                raise BadArithmeticError("a negative exponent", self._line)
            return pow(left, right, 2**64)
        if op in {"<<", ">>"}:
            return left << (right % 64) if op == "<<" else left >> (right % 64)
        table: dict[str, int] = {
            ",": right, "|": left | right, "^": left ^ right, "&": left & right, "==": left == right,
            "!=": left != right, "<": left < right, ">": left > right, "<=": left <= right,
            ">=": left >= right, "+": left + right, "-": left - right, "*": left * right,
        }  # fmt: skip
        return int(table[op])

    def _operand(self, depth: int) -> int:
        token = self._next()
        if token == "(":
            result = self._expression(0, depth + 1)
            if self._next() != ")":
                raise BadArithmeticError("a parenthesis is not closed in arithmetic", self._line)
            return result
        if token in {"!", "~", "-", "+"}:
            value = self._expression(14, depth + 1)
            return {"!": int(not value), "~": ~value, "-": -value, "+": value}[token]
        if token in {"++", "--"}:
            name = self._next()
            return self._assign(name, self._variable(name) + (1 if token == "++" else -1))
        if token[:1].isdigit():
            return self._number(token)
        if not token or not (token[0].isalpha() or token[0] == "_"):
            raise BadArithmeticError(f"arithmetic has no value where {token or 'its end'} stands", self._line)
        return self._named(token, depth)

    def _named(self, name: str, depth: int) -> int:
        op = self._peek()
        if op in {"++", "--"}:
            self._next()
            before = self._variable(name)
            self._assign(name, before + (1 if op == "++" else -1))
            return before
        if op in _ASSIGNING:
            self._next()
            right = self._expression(2, depth + 1)
            return self._assign(
                name, right if op == "=" else self._operation(op[:-1], self._variable(name), right)
            )
        return self._variable(name)

    def _assign(self, name: str, value: int) -> int:
        if not self._silent:
            self._write(name, str(_wrapped(value)))
        return _wrapped(value)

    def _number(self, token: str) -> int:
        try:
            if "#" in token:
                base, digits = token.split("#")
                return _wrapped(int(digits, int(base)))
            if token[:2] in ("0x", "0X"):
                return _wrapped(int(token, 16))
            return _wrapped(int(token, 8 if token.startswith("0") else 10))
        except ValueError:
            raise BadArithmeticError(f"{token} is not a number", self._line) from None

    def _variable(self, name: str) -> int:
        value = self._read(name)
        if isinstance(value, Unknown):
            if self._silent:
                return 0
            raise UnknownNumberError(value)
        if not value or not value.strip():
            return 0
        return Reckoner(self._read, self._write, self._line, self._depth + 1).value(value)
