"""Names of pods as tables show them: what all of them begin with says nothing and takes half of the line."""

from __future__ import annotations

from collections.abc import Iterable

from kit import printable

_WORTH = 8  # a common beginning that is shorter stays: the whole name is easier to find again


def common_prefix(names: Iterable[str]) -> str:
    """What two names or more all begin with, up to a hyphen; empty where it is not worth leaving out."""
    return printable.common_beginning(names, "-", _WORTH)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is shown beside the others: `...58wcr` where only the end tells."""
    every = list(names)
    return printable.shortened(every, common_prefix(every), "...")
