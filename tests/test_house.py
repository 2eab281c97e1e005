"""The house rules that a machine can check: import arrows, the size of a file, the engine's purity."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("simulator", "gateway", "loadgen")
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))

# module -> the modules of another room, or of an outer layer, that it may import
ALLOWED = {
    "gateway.stack.stack": {"simulator.fleet.fleet", "simulator.config.serve", "simulator.errors"},
    "gateway.cli": {"simulator.cli"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it the import stands; relative ones resolved."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base]).rstrip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_rooms_import_only_along_the_arrows(path: Path) -> None:
    module = module_of(path)
    room = module.split(".")[0]
    for name in imports_of(path):
        other = name.split(".")[0]
        if other in ROOMS and other != room:
            assert any(within(name, a) for a in ALLOWED.get(module, ())) or any(
                within(a, name) for a in ALLOWED.get(module, ())
            ), f"{module} imports {name}: no such arrow in AGENTS.md"


@pytest.mark.parametrize(
    "path", [p for p in FILES if module_of(p).startswith("simulator.engine")], ids=module_of
)
def test_engine_is_pure(path: Path) -> None:
    """Standard library only, no clock, no I/O, and nothing of the server."""
    banned = {"asyncio", "time", "socket", "threading", "selectors", "datetime", "select"}
    for name in imports_of(path):
        top = name.split(".")[0]
        if top == "simulator":
            assert (
                within(name, "simulator.engine") or within(name, "simulator.errors") or name == "simulator"
            ), name
        else:
            assert top in sys.stdlib_module_names, f"{module_of(path)} imports {name}"
            assert top not in banned, f"{module_of(path)} imports {name}: time comes in as `now`"


@pytest.mark.parametrize(
    "path", [p for p in FILES if module_of(p).startswith("simulator.server")], ids=module_of
)
def test_server_knows_no_fleet(path: Path) -> None:
    for name in imports_of(path):
        assert not within(name, "simulator.fleet.fleet"), name
        assert not within(name, "simulator.cli"), name


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert path.read_text().count("\n") <= 400, "split it: one noun, one module"
