"""Shell patterns as regular expressions: `case`, `[[ == ]]`, `${x#...}`. Quoted text stands for itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import ScriptError

Tokens = Sequence[tuple[str, bool]]  # text and whether it is quoted
_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "xdigit": "0-9a-fA-F", "space": r"\s", "blank": r" \t", "punct": r"!-/:-@\[-`{-~", "word": r"\w",
}  # fmt: skip
_GROUPS = {"?": "?", "*": "*", "+": "+", "@": ""}


def glob(tokens: Tokens, *, extended: bool = True) -> str:
    """The regular expression of a pattern, whole texts meant."""
    chars = [(c, quoted) for text, quoted in tokens for c in text]
    return _glob(chars, 0, len(chars), extended)[0]


def _glob(chars: list[tuple[str, bool]], begin: int, end: int, extended: bool) -> tuple[str, int]:
    found, i = "", begin
    while i < end:
        char, quoted = chars[i]
        follows = chars[i + 1] if i + 1 < end else ("", True)
        if quoted:
            found += re.escape(char)
        elif char == "\\" and i + 1 < end:
            i += 1
            found += re.escape(chars[i][0])
        elif extended and char in "?*+@" and follows == ("(", False) and (close := _close(chars, i + 1, end)):
            branches = [_glob(chars, a, b, extended)[0] for a, b in _branches(chars, i + 2, close)]
            found += f"(?:{'|'.join(branches)}){_GROUPS[char]}"
            i = close
        elif char in "*?":
            found += ".*" if char == "*" else "."
        elif char == "[" and (close := _bracket_end(chars, i, end)):
            found += _bracket(chars[i + 1 : close])
            i = close
        else:
            found += re.escape(char)
        i += 1
    return found, i


def _close(chars: list[tuple[str, bool]], begin: int, end: int) -> int:
    depth = 0
    for i in range(begin, end):
        depth += {("(", False): 1, (")", False): -1}.get(chars[i], 0)
        if depth == 0:
            return i
    return 0


def _branches(chars: list[tuple[str, bool]], begin: int, end: int) -> list[tuple[int, int]]:
    found, depth, start = [], 0, begin
    for i in range(begin, end):
        depth += {("(", False): 1, (")", False): -1}.get(chars[i], 0)
        if chars[i] == ("|", False) and depth == 0:
            found.append((start, i))
            start = i + 1
    return [*found, (start, end)]


def _bracket_end(chars: list[tuple[str, bool]], begin: int, end: int) -> int:
    """Where the `]` of a bracket expression stands, 0 where there is none."""
    i = begin + 1
    if i < end and chars[i] in (("!", False), ("^", False)):
        i += 1
    first = True
    while i < end:
        char, quoted = chars[i]
        if char == "[" and not quoted and i + 1 < end and chars[i + 1][0] == ":":
            text = "".join(c for c, _ in chars[i:end])
            if (close := text.find(":]")) > 0:
                i += close + 2
                first = False
                continue
        if char == "]" and not quoted and not first:
            return i
        first = False
        i += 1
    return 0


def _bracket(inner: list[tuple[str, bool]]) -> str:
    text = "".join(f"\\{c}" if quoted or c in "\\]" else c for c, quoted in inner)
    negated = text[:1] in ("!", "^")
    text = text[1:] if negated else text
    text = re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m[1], ""), text).replace("[", r"\[")
    return f"[{'^' if negated else ''}{text}]"


def compiled(tokens: Tokens) -> re.Pattern[str]:
    """A pattern of whole texts; a ScriptError for one that no shell takes, such as `[z-a]`."""
    try:
        return re.compile(glob(tokens), re.DOTALL)
    except re.error:
        raise ScriptError(f"the pattern {''.join(t for t, _ in tokens)!r} cannot be read") from None


def matches(tokens: Tokens, text: str) -> bool:
    """Whether the pattern is of the whole `text`."""
    return compiled(tokens).fullmatch(text) is not None


def expression(tokens: Tokens) -> str:
    """The right side of `=~` for Python: POSIX classes spelled out, quoted text escaped."""
    found = "".join(re.escape(text) if quoted else text for text, quoted in tokens)
    return re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m[1], ""), found)


def without(text: str, tokens: Tokens, op: str) -> str:
    """`${x#p}`, `##`, `%`, `%%`: text without the shortest or longest match at its begin or end."""
    regex = compiled(tokens)
    lengths = range(len(text) + 1)
    order = lengths if len(op) == 1 else reversed(lengths)
    for n in order:
        part = text[:n] if op[0] == "#" else text[len(text) - n :]
        if regex.fullmatch(part):
            return text[n:] if op[0] == "#" else text[: len(text) - n]
    return text


def replaced(text: str, tokens: Tokens, by: str, op: str) -> str:
    """`${x/p/by}`: the first longest match, with `//` each, with `/#` and `/%` one at begin or end."""
    if not any(t for t, _ in tokens):
        return by + text if op == "/#" else text + by if op == "/%" else text
    regex = compiled(tokens)
    result, i, done = "", 0, False
    while i <= len(text):
        ends = range(len(text), i, -1)
        stop = next(
            (e for e in ends if not done and _fits(text, i, e, op) and regex.fullmatch(text, i, e)), None
        )
        if stop is None:
            result += text[i : i + 1]
            i += 1
        else:
            result += by
            i, done = stop, op != "//"
    return result


def _fits(text: str, begin: int, end: int, op: str) -> bool:
    return (op != "/#" or begin == 0) and (op != "/%" or end == len(text))
