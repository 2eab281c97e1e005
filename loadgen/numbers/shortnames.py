"""Names of pods in reports: without the beginning that all of them have."""

from __future__ import annotations

from collections.abc import Iterable

from kit import printable

# Names up to this long are shown whole.
_SHORT = 14
# Shorter beginnings than this are not worth a sign of their absence.
_LEAST = 5
_JOINTS = "-._:/"


def common_beginning(names: Iterable[str]) -> str:
    """What all of several long names begin with, up to a joint of theirs; "" where they are to stay whole."""
    found = list(names)
    if max(map(len, found), default=0) <= _SHORT:
        return ""
    shared = printable.common_beginning(found, _JOINTS, _LEAST)
    return shared if all(len(name) > len(shared) for name in found) else ""


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is shown: `…` for what all begin with."""
    found = list(names)
    return printable.shortened(found, common_beginning(found), "…")
