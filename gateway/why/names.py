"""Names of pods as tables show them: what all of them begin with says nothing and takes half of the line."""

from __future__ import annotations

from collections.abc import Iterable

_WORTH = 8  # a common beginning that is shorter stays: the whole name is easier to find again


def common_prefix(names: Iterable[str]) -> str:
    """What two names or more all begin with, up to a hyphen; empty where it is not worth leaving out."""
    every = sorted(set(names))
    if len(every) < 2:
        return ""
    first, last = every[0], every[-1]  # in order, so that what these two share is shared by all
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    prefix = first[: first.rfind("-", 0, same) + 1]
    return prefix if len(prefix) >= _WORTH else ""


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is shown beside the others: `...58wcr` where only the end tells."""
    every = list(names)
    prefix = common_prefix(every)
    return {name: f"...{name[len(prefix) :]}" if prefix else name for name in every}
