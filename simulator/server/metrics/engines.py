"""One /metrics of several engines: each family once, with the series of every rank."""

from __future__ import annotations

from collections.abc import Sequence

_HELP = "# HELP "


def merged(pages: Sequence[str]) -> str:
    """The pages of ranks as one: series that name their engine side by side, the rest is the first's."""
    first, *others = [_blocks(page) for page in pages]
    for blocks in others:
        for name, lines in blocks.items():
            own = first.get(name)
            if own is not None:
                own += [line for line in lines if 'engine="' in line]
    return "".join("\n".join(lines) + "\n" for lines in first.values())


def _blocks(page: str) -> dict[str, list[str]]:
    """The lines of each family by its name, in order."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.rstrip("\n").split("\n"):
        if line.startswith(_HELP):
            lines = blocks.setdefault(line.split(" ", 3)[2], [])
        lines.append(line)
    return blocks
