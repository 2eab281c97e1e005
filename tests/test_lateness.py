"""One rule of lateness, for Python and for shells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import lateness

TRUSTED = "expectations\n  ttft.p99 < 1s   passed   0.2 s\n"
LATE = "  start lateness          fail   p99 12 ms\nnot to be trusted: start lateness \n"
OTHER = "  start lateness          fail   p99 12 ms\nnot to be trusted: start lateness, counts\n"
FAILED = "  ttft.p99 < 1s   failed   2 s\n"


@pytest.mark.parametrize(
    ("code", "output", "late", "only"),
    [
        (0, TRUSTED, False, False),
        (2, TRUSTED, False, False),
        (2, TRUSTED + LATE, True, True),
        (0, TRUSTED + LATE, False, False),
        (1, TRUSTED + LATE, False, False),
        (2, FAILED + LATE, True, False),
        (2, TRUSTED + OTHER, True, False),
    ],
)
def test_the_rule(code: int, output: str, late: bool, only: bool, tmp_path: Path) -> None:
    assert lateness.was_late(code, output) is late
    assert lateness.only_late(code, output) is only
    (tmp_path / "out").write_text(output)
    shell = [sys.executable, lateness.__file__, str(code), str(tmp_path / "out")]
    assert (subprocess.run(shell, timeout=60, check=False).returncode == 0) is only
