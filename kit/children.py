"""Children that run this interpreter."""

from __future__ import annotations

import sys


def python(*arguments: str) -> list[str]:
    """The command line of a child of this interpreter, `arguments` being `-m module ...` or `-c code ...`.

    -P: without it the working directory, or the script's, comes first on sys.path, where a user's json.py or
    loadgen.py would be taken for the real one.
    """
    return [sys.executable, "-P", *arguments]
