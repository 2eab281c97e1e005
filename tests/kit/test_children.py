"""Children of this interpreter import what is installed, whatever lies in the folder that they start in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from kit.children import python

ROOT = Path(__file__).parents[2]
FOLDERS = ("kit", "simulator", "gateway", "loadgen", "bench")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize(
    "arguments",
    [("-c", "import json, kit, loadgen, simulator"), ("-m", "json.tool", "--help"), ("-m", "simulator")],
)
def test_the_working_directory_is_not_looked_into(arguments: tuple[str, ...], crowded: Path) -> None:
    def words(command: list[str]) -> str:
        return subprocess.run(
            command, cwd=crowded, capture_output=True, text=True, timeout=60, check=False
        ).stderr

    assert "taken for" not in words(python(*arguments))
    assert "taken for" in words([sys.executable, *arguments]), "the folder is a trap without -P"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_starts_python_another_way(path: Path) -> None:
    """`sys.executable` beside -m or -c in a list or tuple: kit.children writes such command lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.List | ast.Tuple) and path.name != "children.py":
            parts = [ast.unparse(item) for item in node.elts]
            assert not ("sys.executable" in parts and {"'-m'", "'-c'"} & set(parts)), f"{path}:{node.lineno}"
