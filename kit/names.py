"""Names as tables show them: without the beginning that all of them have."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile


def common_beginning(names: Iterable[str], joints: str, least: int) -> str:
    """What two names or more all begin with, up to one of `joints`; "" where it is shorter than `least`."""
    found = list(dict.fromkeys(names))
    if len(found) < 2:
        return ""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*found, strict=False))
    shared = "".join(letters[0] for letters in alike)
    shared = shared[: max(shared.rfind(joint) for joint in joints) + 1]
    return shared if len(shared) >= least else ""


def shortened(names: Iterable[str], beginning: str, mark: str) -> dict[str, str]:
    """Each name as it is shown beside the others: `mark` for what all begin with."""
    return {name: f"{mark}{name[len(beginning) :]}" if beginning else name for name in names}
