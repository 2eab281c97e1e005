"""The files that an Envoy watches: what counts as a change, and what Envoy has to confirm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.envoy.discovery import DiscoveryFiles


def whole(*clusters: str) -> dict[str, Any]:
    return {"static_resources": {"listeners": [], "clusters": [{"name": name} for name in clusters]}}


def test_another_order_is_no_change(tmp_path: Path) -> None:
    """Envoy would never say the version of one."""
    files = DiscoveryFiles(tmp_path)
    assert files.write(whole("a", "b"))
    assert not files.write(whole("b", "a"))
    assert files.write(whole("b"))


def test_nothing_is_confirmed_of_nothing(tmp_path: Path) -> None:
    files = DiscoveryFiles(tmp_path)
    files.write(whole("a"))
    assert "clusters" in files.versions
    files.write(whole())
    assert "clusters" not in files.versions
