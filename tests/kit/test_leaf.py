"""kit is a leaf: it knows no room, and holds nothing that only one room uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_house import ROOMS, ROOT, imports_of, module_of, within

MODULES = sorted(path for path in (ROOT / "kit").glob("*.py") if path.name != "__init__.py")


def users(module: str) -> set[str]:
    """The rooms that import `module`."""
    return {
        room
        for room in ROOMS
        if any(within(name, module) for path in (ROOT / room).rglob("*.py") for name in imports_of(path))
    }


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_it_knows_no_room(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path)} & set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_at_least_two_rooms_use_it(path: Path) -> None:
    assert len(users(module_of(path))) >= 2, users(module_of(path))
