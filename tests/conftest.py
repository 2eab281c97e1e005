"""Figures that tests measure, shown at the end of a run."""

from __future__ import annotations

from collections.abc import Callable

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
