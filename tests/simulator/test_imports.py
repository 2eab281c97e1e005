"""The simulator's modules import in no circle: neither by type nor inside functions."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "simulator").rglob("*.py")
}


def imports_of(source: str, modules: set[str]) -> set[str]:
    """Modules that a source imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "write imports in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {str(node.module)}
    return found & modules


def test_what_counts_as_an_import() -> None:
    source = """
from typing import TYPE_CHECKING
from a import b
if TYPE_CHECKING:
    from a.c import Thing
def late():
    import a.d
"""
    assert imports_of(source, {"a", "a.b", "a.c", "a.d"}) == {"a.b", "a.c", "a.d"}


def test_no_circle() -> None:
    graph = {name: imports_of(path.read_text(), set(FILES)) - {name} for name, path in FILES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]) + ": give the noun that both need a module of its own")


def test_a_folder_can_be_seen_at_once() -> None:
    for folder in {path.parent for path in FILES.values()}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 15, f"{folder.relative_to(ROOT)} has {len(modules)} modules"
