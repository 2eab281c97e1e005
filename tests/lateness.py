"""The rule for runs of `loadgen` on a busy machine: to be late, and to say so, is no failure.

`python tests/lateness.py CODE FILE` for shells: exit code 0 when the run with that exit code and output was
late and nothing else.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

UNTRUSTED = 2
"""loadgen's exit code, as it is: importing it from there takes a shell a second for each run."""


def was_late(code: int, output: str) -> bool:
    """The run says that it was late, whatever else was wrong."""
    return code == UNTRUSTED and "start lateness          fail" in output


def only_late(code: int, output: str) -> bool:
    """Every expectation held, and lateness is all for which the run is not to be trusted."""
    late = re.search(r"not to be trusted: start lateness\s*$", output, re.MULTILINE)
    return code == UNTRUSTED and late is not None and "   failed   " not in output


if __name__ == "__main__":
    sys.exit(0 if only_late(int(sys.argv[1]), Path(sys.argv[2]).read_text()) else 1)
