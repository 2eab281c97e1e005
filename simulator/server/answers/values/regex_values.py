"""Texts that match a regular expression: for `pattern` in schemas and for guided regexes.

Walks the tree of Python's own parser and writes what each node asks for, so the walk itself is the match: no
engine that backtracks ever runs on a client's pattern. Anchors and word boundaries are noted where they stand
and checked against the finished text. What takes a look at text that is not there yet (look-arounds, atomic
groups, possessive repeats) is refused, as the grammar engines under vLLM do.
"""

from __future__ import annotations

import math
import random
import re
import string
import warnings
from collections.abc import Callable, Iterator
from re import _constants as tokens  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from simulator.server.answers.values.budget import Budget
from simulator.server.errors import ApiError

_PLAIN = string.ascii_letters + string.digits
_OTHERS = _PLAIN + " -_.,:;" + string.punctuation + "\t\n\u00b7\u00e4\u4e2d"
_MORE = 4  # repetitions beyond the least where the pattern sets no bound
_ATTEMPTS = 30
_BY_CHANCE = 10  # of them; the others go by the length that is wanted
_MAX_RANGE = 200  # characters of one range that are drawn from
_SHOWN = 200  # characters of a pattern in an error
_SURROGATES = range(0xD800, 0xE000)
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    tokens.CATEGORY_DIGIT: str.isdecimal,
    tokens.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    tokens.CATEGORY_SPACE: str.isspace,
    tokens.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    tokens.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    tokens.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


def matching_text(
    pattern: str, rng: random.Random, budget: Budget | None = None, low: float = 0, high: float = float("inf")
) -> str:
    """A text of `low` to `high` characters in which `pattern` is found.

    As much of it as `budget` wants. Raises ApiError for a pattern that is wrong, too large or too clever.
    """
    budget = budget or Budget()
    tree = budget.patterns.get(pattern)
    if tree is None:
        budget.step(len(pattern))
        tree = budget.patterns[pattern] = _parse(pattern)
    begun = budget.chars
    for attempt in range(_ATTEMPTS):
        budget.chars = begun
        budget.step()
        late = attempt - _BY_CHANCE
        sharing = 1 + late // 2  # as if so many repetitions had to make up the length together
        walk = _Walk(pattern, rng, budget, bool(tree.state.flags & re.MULTILINE))
        try:
            if late >= 0:
                missing, room = max(0, low - tree.getwidth()[0]), high - low if late % 2 else 0
                walk.stretch(missing / sharing, room / sharing)
            text = walk.text(tree)
        except RecursionError:
            raise _unreadable(pattern, "its groups are nested too deeply") from None
        if budget.is_enough or (low <= len(text) <= high and walk.holds(text)):
            return text
    raise ApiError(f"No text was found that matches the regular expression {_shown(pattern)}.")


def _parse(pattern: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python may read otherwise one day
            return parser.parse(pattern)
    except RecursionError:
        raise _unreadable(pattern, "its groups are nested too deeply") from None
    except (re.error, OverflowError, ValueError) as error:
        raise _unreadable(pattern, str(error)) from None


def _unreadable(pattern: str, why: str) -> ApiError:
    return ApiError(f"The regular expression {_shown(pattern)} cannot be used: {why}")


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= _SHOWN else pattern[:_SHOWN] + "...")


class _Walk:
    """One walk through a pattern; groups remember what they matched, anchors where they stood."""

    def __init__(self, pattern: str, rng: random.Random, budget: Budget, multiline: bool) -> None:
        self._pattern = pattern
        self._rng = rng
        self._budget = budget
        self._longer = 0  # repetitions beyond the least that a pattern asks for
        self._spread = _MORE  # repetitions that chance may add to that
        self._multiline = multiline
        self._groups: dict[int, str] = {}
        self._anchors: list[tuple[int, Any]] = []
        self._referred = True
        self._out: list[str] = []
        self._length = 0

    def stretch(self, chars: float, room: float) -> None:
        """Have repetitions add so many characters each, as if of single ones, and at most `room` more."""
        self._longer = math.ceil(chars)
        self._spread = int(min(_MORE, room))

    def text(self, tree: Any) -> str:
        self._sequence(tree)
        return "".join(self._out)

    def holds(self, text: str) -> bool:
        """Whether every anchor is right about where it stands in `text`, every reference about its group."""
        return self._referred and all(
            self._anchor_holds(text, position, kind) for position, kind in self._anchors
        )

    def _anchor_holds(self, text: str, position: int, kind: Any) -> bool:
        if kind in (tokens.AT_BEGINNING, tokens.AT_BEGINNING_STRING):
            return position == 0 or (
                self._multiline and kind is tokens.AT_BEGINNING and text[position - 1] == "\n"
            )
        if kind in (tokens.AT_END, tokens.AT_END_STRING):
            return position == len(text) or (
                self._multiline and kind is tokens.AT_END and text[position] == "\n"
            )
        is_word = _CATEGORIES[tokens.CATEGORY_WORD]
        before = position > 0 and is_word(text[position - 1])
        after = position < len(text) and is_word(text[position])
        return (before != after) == (kind is tokens.AT_BOUNDARY)

    def _write(self, text: str) -> None:
        self._budget.write(len(text))
        self._out.append(text)
        self._length += len(text)

    def _sequence(self, tree: Any) -> None:
        for operation, argument in tree:
            if self._budget.is_enough:
                return
            node = _NODES.get(operation)
            if node is None:
                name = str(operation).lower().replace("_", " ")
                raise _unreadable(self._pattern, f"{name} is not supported")
            node(self, argument)

    def _literal(self, code: int) -> None:
        if code in _SURROGATES:
            raise _unreadable(self._pattern, "half a surrogate pair is no character")
        self._write(chr(code))

    def _not_literal(self, code: int) -> None:
        self._set([(tokens.NEGATE, None), (tokens.LITERAL, code)])

    def _any(self, _: Any) -> None:
        self._write(self._rng.choice(_PLAIN))

    def _choices(self, operation: Any, argument: Any) -> str:
        """The characters that a node for one character may write; empty: it is another kind of node."""
        if operation is tokens.LITERAL and argument not in _SURROGATES:
            return chr(argument)
        if operation is tokens.ANY:
            return _PLAIN
        return self._candidates(argument) if operation is tokens.IN else ""

    def _branch(self, argument: Any) -> None:
        self._budget.step()
        self._sequence(self._rng.choice(argument[1]))

    def _repeat(self, argument: Any) -> None:
        least, most, inner = argument
        if most - least > _MORE:
            least = min(most, least + self._longer)
        most = min(most, least + self._spread)
        count = self._rng.randint(least, most)
        if len(inner) == 1 and (choices := self._choices(*inner[0])):
            count = self._budget.seen_of(count)
            self._write("".join(self._rng.choices(choices, k=count)))
            return
        for _ in range(count):
            if self._budget.is_enough:
                return
            self._budget.step()
            self._sequence(inner)

    def _group(self, argument: Any) -> None:
        self._budget.step()
        begun = len(self._out)
        self._sequence(argument[3])
        if argument[0] is not None:
            self._groups[argument[0]] = "".join(self._out[begun:])

    def _reference(self, number: int) -> None:
        self._budget.step()
        if number in self._groups:
            self._write(self._groups[number])
        else:
            self._referred = False  # this way through the pattern matches nothing

    def _conditional(self, argument: Any) -> None:
        number, yes, no = argument
        self._sequence(yes if number in self._groups else no or ())

    def _at(self, kind: Any) -> None:
        self._anchors.append((self._length, kind))

    def _set(self, members: Any) -> None:
        self._write(self._rng.choice(self._candidates(members)))

    def _candidates(self, members: Any) -> str:
        negated = bool(members) and members[0][0] is tokens.NEGATE
        self._budget.step(1 + len(members) // 16)
        candidates = self._outside(members[1:]) if negated else "".join(self._inside(members))
        if not candidates:
            raise _unreadable(self._pattern, "no character was found for one of its sets")
        return candidates

    def _inside(self, members: Any) -> Iterator[str]:
        for operation, argument in members:
            if operation is tokens.LITERAL:
                low = high = argument
            elif operation is tokens.RANGE:
                low, high = argument
            else:
                yield from filter(_CATEGORIES[argument], _plainest(argument))
                continue
            for code in range(low, min(high, low + _MAX_RANGE) + 1):
                if code not in _SURROGATES:
                    yield chr(code)

    def _outside(self, members: Any) -> str:
        """Characters that are in none of `members`, whichever the case of their letters."""
        plain = [c for c in _OTHERS if not any(_is_in(x, members) for x in (c, c.lower(), c.upper()))]
        return "".join(plain or [c for c in _OTHERS if not _is_in(c, members)])


def _plainest(category: Any) -> str:
    """Where the members of a category are taken from: blanks are rare where others will do."""
    if category is tokens.CATEGORY_SPACE:
        return " "
    return " -." if category is tokens.CATEGORY_NOT_WORD else _PLAIN + "_"


def _is_in(character: str, members: Any) -> bool:
    code = ord(character[0])
    for operation, argument in members:
        if operation is tokens.LITERAL:
            found = code == argument
        elif operation is tokens.RANGE:
            found = argument[0] <= code <= argument[1]
        else:
            found = _CATEGORIES[argument](character[0])
        if found:
            return True
    return False


_NODES: dict[Any, Callable[[_Walk, Any], None]] = {
    tokens.LITERAL: _Walk._literal,
    tokens.NOT_LITERAL: _Walk._not_literal,
    tokens.ANY: _Walk._any,
    tokens.IN: _Walk._set,
    tokens.BRANCH: _Walk._branch,
    tokens.MAX_REPEAT: _Walk._repeat,
    tokens.MIN_REPEAT: _Walk._repeat,
    tokens.SUBPATTERN: _Walk._group,
    tokens.GROUPREF: _Walk._reference,
    tokens.GROUPREF_EXISTS: _Walk._conditional,
    tokens.AT: _Walk._at,
}
