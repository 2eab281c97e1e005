"""Figures that tests measure, shown at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", settings(), deadline=None)  # a stall is no fault of an example
settings.load_profile("busy")
FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := terminalreporter.config.stash.get(FIGURES, []):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Writes a line into the summary."""
    return request.config.stash.setdefault(FIGURES, []).append


SHADOWS = ("json", "asyncio", "logging", "types", "yaml", "uvloop", "kit", "loadgen", "gateway", "simulator")


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A user's folder, with files that have the names of modules and would break whoever imports them."""
    folder = tmp_path / "crowded"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(
            f"raise SystemExit('a user's {name}.py was taken for the module')\n"
        )
    return folder
