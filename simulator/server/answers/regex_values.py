"""Texts that match a regular expression: for `pattern` in schemas and for guided regexes.

Walks the tree of Python's own parser. Look-arounds are not followed; the result is checked, and a pattern
that cannot be met this way raises ApiError.
"""

from __future__ import annotations

import random
import re
import string
from re import _constants as tokens  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from simulator.server.errors import ApiError

_PLAIN: Final = string.ascii_letters + string.digits
_MORE: Final = 4  # repetitions beyond the least where the pattern sets no bound
_ATTEMPTS: Final = 20
_CATEGORIES: Final = {
    tokens.CATEGORY_DIGIT: string.digits,
    tokens.CATEGORY_NOT_DIGIT: string.ascii_letters,
    tokens.CATEGORY_SPACE: " ",
    tokens.CATEGORY_NOT_SPACE: _PLAIN,
    tokens.CATEGORY_WORD: _PLAIN + "_",
    tokens.CATEGORY_NOT_WORD: " -.",
}


def matching_text(pattern: str, rng: random.Random) -> str:
    """A text in which `pattern` is found; raises ApiError for a pattern that is wrong or too clever."""
    try:
        compiled = re.compile(pattern)
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ApiError(f"The regular expression {pattern!r} cannot be read: {error}") from None
    for _ in range(_ATTEMPTS):
        text = _Walk(rng).sequence(tree)
        if compiled.search(text):
            return text
    raise ApiError(f"No text was found that matches the regular expression {pattern!r}.")


class _Walk:
    """One walk through a pattern; groups remember what they matched."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._groups: dict[int, str] = {}

    def sequence(self, tree: Any) -> str:
        return "".join(self._node(operation, argument) for operation, argument in tree)

    def _node(self, operation: Any, argument: Any) -> str:
        if operation is tokens.LITERAL:
            return chr(argument)
        if operation is tokens.NOT_LITERAL:
            return self._rng.choice([c for c in _PLAIN if ord(c) != argument])
        if operation is tokens.ANY:
            return self._rng.choice(_PLAIN)
        if operation is tokens.IN:
            return self._set(argument)
        if operation is tokens.BRANCH:
            return self.sequence(self._rng.choice(argument[1]))
        if operation in (tokens.MAX_REPEAT, tokens.MIN_REPEAT, tokens.POSSESSIVE_REPEAT):
            least, most, inner = argument
            most = least + _MORE if most is tokens.MAXREPEAT else min(most, least + _MORE)
            return "".join(self.sequence(inner) for _ in range(self._rng.randint(least, most)))
        if operation is tokens.SUBPATTERN:
            text = self.sequence(argument[3])
            if argument[0] is not None:
                self._groups[argument[0]] = text
            return text
        if operation is tokens.ATOMIC_GROUP:
            return self.sequence(argument)
        if operation is tokens.GROUPREF:
            return self._groups.get(argument, "")
        return ""  # anchors and look-arounds take no characters

    def _set(self, members: Any) -> str:
        negated = bool(members) and members[0][0] is tokens.NEGATE
        allowed = ""
        for operation, argument in members:
            if operation is tokens.LITERAL:
                allowed += chr(argument)
            elif operation is tokens.RANGE:
                low, high = argument
                allowed += "".join(map(chr, range(low, min(high, low + 200) + 1)))
            elif operation is tokens.CATEGORY:
                allowed += _CATEGORIES[argument]
        if negated:
            allowed = "".join(c for c in _PLAIN + " -_.,:;" if c not in allowed) or "\u00b7"
        return self._rng.choice(allowed)
