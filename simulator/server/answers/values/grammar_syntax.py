"""Grammars of structured outputs as data: xgrammar's EBNF (`root ::= ...`) and Lark's (`start: ...`).

Both become one form, so that whoever writes a text of a grammar need not know in which it was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.server.answers.values.budget import Budget
from simulator.server.errors import ApiError

_MAX_NESTING = 50  # groups inside groups
_CHARS_PER_STEP = 8  # of a grammar that is read
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*|//[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')(?P<fold>i?)
    |(?P<regex>/(?!/)(?:[^/\\\n]|\\.)+/)(?P<flags>[imslux]*)
    |(?P<set>\[(?:\\.|[^\]\\])*\])
    |(?P<bounds>\{\s*\d+\s*(?:,\s*\d*\s*)?\})
    |(?P<times>~\s*\d+(?:\s*\.\.\s*\d+)?)
    |(?P<name>[?!]?[A-Za-z_][\w-]*)
    |(?P<mark>::=|->|\.\.|[:|()*+?.\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_LARK_LINE = re.compile(r"^\s*%(import|ignore|declare)\b.*$", re.MULTILINE)
_IMPORT = re.compile(r"^\s*%import\s+common\s*\.\s*(\w+)(?:\s*->\s*(\w+))?\s*$", re.MULTILINE)
_IMPORTS = re.compile(r"^\s*%import\s+common\s*\(([\w\s,]*)\)\s*$", re.MULTILINE)
_PRIORITY = re.compile(r"^(\s*[?!]?\w+)\.-?\d+(\s*:)", re.MULTILINE)
_COMMON = {  # Lark's own terminals
    "DIGIT": "[0-9]", "HEXDIGIT": "[0-9a-fA-F]", "INT": "[0-9]+", "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"[0-9]+\.[0-9]*", "FLOAT": r"[0-9]+\.[0-9]+", "SIGNED_FLOAT": r"[+-]?[0-9]+\.[0-9]+",
    "NUMBER": r"[0-9]+(\.[0-9]+)?", "SIGNED_NUMBER": r"[+-]?[0-9]+(\.[0-9]+)?", "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]", "LETTER": "[a-zA-Z]", "WORD": "[a-zA-Z]+", "CNAME": "[a-zA-Z_][a-zA-Z0-9_]*",
    "ESCAPED_STRING": r'"[^"\\\n]*"', "WS": r"[ \t\n]+", "WS_INLINE": r"[ \t]+", "NEWLINE": r"\n+",
    "CR": r"\r", "LF": r"\n",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """These characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a regular expression matches."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rule of this name says."""

    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`part` from `low` to `high` times; None: without an end."""

    part: Node
    low: int
    high: int | None


Node = Text | Pattern | Rule | Row | OneOf | Repeat


@dataclass(slots=True)
class Grammar:
    start: str
    rules: dict[str, Node]


def invalid_grammar(why: str = "") -> ApiError:
    """vLLM's words for a grammar that its backends do not take."""
    more = f": Failed to convert the grammar from GBNF to Lark: {why}" if why else "."
    return ApiError(f"Invalid grammar specification{more}", streams=True)


def parse_grammar(text: str, budget: Budget) -> Grammar:
    """`text` as a grammar; raises ApiError where it is none, or refers to what it has not."""
    budget.step(len(text) // _CHARS_PER_STEP + 1)
    lines = (re.sub(r"(#|//).*$", "", line) for line in text.split("\n"))
    is_lark = not any("::=" in line for line in lines)
    rules: dict[str, Node] = {}
    if is_lark:
        rules |= _imported(text)
        text = _PRIORITY.sub(r"\1\2", _LARK_LINE.sub("", text))
    rules |= _Reader(text, is_lark).rules()
    start = "start" if is_lark else "root"
    missing = sorted(name for name in (start, *_named(rules)) if name not in rules)
    if missing:
        raise invalid_grammar("" if is_lark else f"Rule '{missing[0]}' not found")
    return Grammar(start, rules)


def _imported(text: str) -> dict[str, Node]:
    wanted = [(name, alias or name) for name, alias in _IMPORT.findall(text)]
    wanted += [(name.strip(),) * 2 for names in _IMPORTS.findall(text) for name in names.split(",")]
    if not all(name in _COMMON for name, _ in wanted):
        raise invalid_grammar()
    return {alias: Pattern(_COMMON[name]) for name, alias in wanted}


def _named(rules: Mapping[str, Node]) -> set[str]:
    """All names that rules refer to."""
    found: set[str] = set()
    waiting = list(rules.values())
    while waiting:
        node = waiting.pop()
        if isinstance(node, Rule):
            found.add(node.name)
        elif isinstance(node, Row | OneOf):
            waiting += node.parts
        elif isinstance(node, Repeat):
            waiting.append(node.part)
    return found


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    more: str = ""  # flags behind a text or a pattern


@dataclass(slots=True)
class _Reader:
    """Reads rules by descent; a rule ends where the next one begins."""

    text: str
    is_lark: bool
    _tokens: list[_Token] = field(default_factory=list)
    _at: int = 0

    def rules(self) -> dict[str, Node]:
        self._tokens = self._scan()
        rules: dict[str, Node] = {}
        while self._at < len(self._tokens):
            name = self._take("name")
            self._take("mark", ":" if self.is_lark else "::=")
            rules[name.lstrip("?!")] = self._choice(0)
        return rules

    def _scan(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                raise invalid_grammar()
            kind = str(found.lastgroup if found["space"] is None else "space")
            if kind in ("fold", "flags"):
                kind = "text" if kind == "fold" else "regex"
            at = found.end()
            if kind != "space":
                tokens.append(_Token(kind, found[kind], found["fold"] or found["flags"] or ""))
        return tokens

    def _take(self, kind: str, text: str | None = None) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or token.kind != kind or (text is not None and token.text != text):
            raise invalid_grammar()
        self._at += 1
        return token.text

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._tokens) and self._tokens[at].kind == "mark" and self._tokens[at].text in texts

    @property
    def _at_end(self) -> bool:
        """Whether a choice ends here: with its group, or where the next rule begins."""
        if self._at >= len(self._tokens) or self._is(")", "]", "|"):
            return True
        return self._tokens[self._at].kind == "name" and self._is(":" if self.is_lark else "::=", ahead=1)

    def _choice(self, depth: int) -> Node:
        if depth > _MAX_NESTING:
            raise invalid_grammar()
        parts = [self._row(depth)]
        while self._is("|"):
            self._at += 1
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def _row(self, depth: int) -> Node:
        parts: list[Node] = []
        while not self._at_end:
            if self._is("->"):  # the name of a branch in Lark's tree
                self._at += 1
                self._take("name")
                continue
            parts.append(self._repeated(self._one(depth)))
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _one(self, depth: int) -> Node:
        token = self._tokens[self._at]
        self._at += 1
        if not self.is_lark and (token.kind == "regex" or token.text[0] == "'"):
            raise invalid_grammar()  # both are Lark's
        match token.kind:
            case "text":
                return self._literal(token)
            case "regex":
                flags = "".join(flag for flag in token.more if flag in "ims")
                return Pattern((f"(?{flags})" if flags else "") + token.text[1:-1].replace("\\/", "/"))
            case "set" if not self.is_lark:
                return Pattern(token.text)
            case "set":
                return _optional(token.text[1:-1], depth)
            case "name":
                return Rule(token.text.lstrip("?!"))
            case "mark" if token.text == "(":
                made = self._choice(depth + 1)
                self._take("mark", ")")
                return made
            case "mark" if token.text == "." and not self.is_lark:
                return Pattern(".")
        raise invalid_grammar()

    def _literal(self, token: _Token) -> Node:
        text = _unescaped(token.text[1:-1])
        if self._is("..") and self.is_lark:
            self._at += 1
            last = _unescaped(self._take("text")[1:-1])
            if len(text) != 1 or len(last) != 1 or last < text:
                raise invalid_grammar()
            return Pattern(f"[{re.escape(text)}-{re.escape(last)}]")
        return Pattern(f"(?i){re.escape(text)}") if token.more == "i" else Text(text)

    def _repeated(self, node: Node) -> Node:
        begun = self._at
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if self._at - begun > _MAX_NESTING:
                raise invalid_grammar()
            if token.kind == "mark" and token.text in ("*", "+", "?"):
                low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[token.text]
            elif token.kind in ("bounds", "times"):
                numbers = [int(number) for number in re.findall(r"\d+", token.text)]
                low, high = numbers[0], numbers[-1]
                if token.kind == "bounds" and token.text.rstrip("} ").endswith(","):
                    high = None
                if high is not None and high < low:
                    raise invalid_grammar()
            else:
                break
            self._at += 1
            node = Repeat(node, low, high)
        return node


def _optional(text: str, depth: int) -> Node:
    """What stands in Lark's brackets: it may be there."""
    inner = _Reader(text, True)
    inner._tokens = inner._scan()
    made = inner._choice(depth + 1)
    if inner._at < len(inner._tokens):
        raise invalid_grammar()
    return Repeat(made, 0, 1)


def _unescaped(text: str) -> str:
    """A literal's characters; raises ApiError for an escape that there is not."""
    try:
        return re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", _character, text)
    except (KeyError, ValueError):
        raise invalid_grammar() from None


_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "a": "\a",
    "e": "\x1b",
}


def _character(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "ux" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES[code] if code.isalnum() else code
