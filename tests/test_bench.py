"""Every bench starts as a script and as a module, whatever its neighbours are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELPERS = ("attack_bodies", "client", "entry", "traces")
BENCHES = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if path.stem not in HELPERS)


@pytest.mark.parametrize("name", BENCHES)
def test_help_both_ways(name: str) -> None:
    ways = (str(ROOT / "bench" / f"{name}.py"),), ("-m", f"bench.{name}")
    started = [
        subprocess.Popen(
            [sys.executable, *way, "--help"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for way in ways
    ]
    shown = [child.communicate(timeout=60)[0] for child in started]
    assert [child.returncode for child in started] == [0, 0], shown
    assert all("usage:" in text and "--help" in text for text in shown), shown


def test_there_are_benches() -> None:
    assert len(BENCHES) > 10
    assert all((ROOT / "bench" / f"{helper}.py").exists() for helper in HELPERS)
