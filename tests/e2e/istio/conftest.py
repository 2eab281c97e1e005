"""The istiod to compare with: ISTIOD_BIN, or `pilot-discovery` on the PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cluster.istiod import find_istiod


@pytest.fixture(scope="session")
def istiod() -> Path:
    found = find_istiod("auto")
    if found is None:
        pytest.skip("no istiod: set ISTIOD_BIN, or put `pilot-discovery` on the PATH")
    return found
