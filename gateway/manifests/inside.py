"""Paths that stay below a directory whatever they are made of: the last guard behind the checks of names."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import ManifestError


def inside(root: Path, *parts: str) -> Path:
    """`root` with `parts` below it. Raises ManifestError for parts that lead out of it, links followed."""
    path = root.joinpath(*parts)
    if not is_inside(root, path):
        raise ManifestError(f"{'/'.join(parts)!r} leads out of {root}: a path must stay below it")
    return path


def is_inside(root: Path, path: Path) -> bool:
    """Whether `path` is `root` or below it, links followed."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except ValueError:  # a NUL byte
        return False
