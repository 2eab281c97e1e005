"""Names as tables and pictures show them: without the beginning that all of them have."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

# Names up to this long are shown whole.
_SHORT = 14
# Shorter beginnings than this are not worth a sign of their absence.
_LEAST = 5
_JOINTS = "-._:/"


def common_beginning(names: Iterable[str]) -> str:
    """What all of several long names begin with, up to a joint of theirs; "" where they are to stay whole."""
    found = list(dict.fromkeys(names))
    if len(found) < 2 or max(map(len, found)) <= _SHORT:
        return ""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*found, strict=False))
    shared = "".join(letters[0] for letters in alike)
    shared = shared[: max(shared.rfind(joint) for joint in _JOINTS) + 1]
    return shared if len(shared) >= _LEAST and all(len(name) > len(shared) for name in found) else ""


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is shown: `…` for what all begin with."""
    found = list(names)
    cut = len(common_beginning(found))
    return {name: f"…{name[cut:]}" if cut else name for name in found}
