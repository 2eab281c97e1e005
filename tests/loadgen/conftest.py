"""What the load generator's tests share."""

from __future__ import annotations

import pytest

from loadgen.judge import selfchecks


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is not untrusted for the pauses of a busy machine; test_selfchecks.py holds the real limit."""
    monkeypatch.setattr(selfchecks, "LATE_FAIL", (60.0, 0.25))
