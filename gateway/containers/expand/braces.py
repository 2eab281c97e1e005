"""Brace expansion: `{a,b}` and `{1..8}` outside of quotes make several words of one, before all else."""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.containers.grammar.syntax import Literal, Part, Word
from gateway.errors import ScriptError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d+))?")
_MOST = 10_000  # words that one may become
_Item = str | Part  # an unquoted character, or a part that braces do not look into


def expand(word: Word) -> list[Word]:
    """The words that `word` stands for; a ScriptError for more than anybody means."""
    if not any(isinstance(p, Literal) and not p.quoted and "{" in p.text for p in word.parts):
        return [word]
    items: list[_Item] = []
    for part in word.parts:
        items += list(part.text) if isinstance(part, Literal) and not part.quoted else [part]
    variants = _expand(items, word.line)
    return [replace(word, parts=_parts(variant)) for variant in variants]


def _expand(items: list[_Item], line: int) -> list[list[_Item]]:
    for begin, item in enumerate(items):
        if item != "{" or (begin and items[begin - 1] == "$"):
            continue
        if (end := _close(items, begin)) is None:
            continue
        inner = items[begin + 1 : end]
        if (alternatives := _alternatives(inner, line)) is None:
            continue
        tails = _expand(items[end + 1 :], line)
        heads = [h for a in alternatives for h in _expand(a, line)]
        if len(tails) * len(heads) > _MOST:
            raise ScriptError(f"braces stand for more than {_MOST} words", line)
        return [[*items[:begin], *head, *tail] for head in heads for tail in tails]
    return [items]


def _close(items: list[_Item], begin: int) -> int | None:
    depth = 0
    for i in range(begin, len(items)):
        if items[i] in ("{", "}"):
            depth += 1 if items[i] == "{" else -1
            if depth == 0:
                return i
    return None


def _alternatives(inner: list[_Item], line: int) -> list[list[_Item]] | None:
    """What the braces offer, None where they are no expansion."""
    found: list[list[_Item]] = [[]]
    depth = 0
    for item in inner:
        if item in ("{", "}"):
            depth += 1 if item == "{" else -1
        if item == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(item)
    if len(found) > 1:
        return found
    if all(isinstance(i, str) for i in inner) and (span := _RANGE.fullmatch("".join(map(str, inner)))):
        return [list(text) for text in _span(span, line)]
    return None


def _span(span: re.Match[str], line: int) -> list[str]:
    is_number = span[1] is not None
    first, last = (int(span[1]), int(span[2])) if is_number else (ord(span[4]), ord(span[5]))
    step = abs(int(span[3] or span[6] or 1)) or 1
    if abs(last - first) // step > _MOST:
        raise ScriptError(f"braces stand for more than {_MOST} words", line)
    numbers = range(first, last + 1, step) if last >= first else range(first, last - 1, -step)
    if not is_number:
        return [chr(n) for n in numbers]
    padded = [t for t in (span[1], span[2]) if re.match(r"-?0\d", t)]
    width = max(len(span[1]), len(span[2])) if padded else 0
    return [f"{n:0{width}d}" for n in numbers]


def _parts(items: list[_Item]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for item in items:
        if isinstance(item, str):
            last = parts[-1] if parts else None
            if isinstance(last, Literal) and not last.quoted:
                parts[-1] = Literal(last.text + item)
            else:
                parts.append(Literal(item))
        else:
            parts.append(item)
    return tuple(parts)
