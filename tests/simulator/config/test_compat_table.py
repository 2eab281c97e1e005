"""Compatibility is a table: somebody reads every row, and nothing else in the simulator knows versions."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from simulator.config.bodies import Bodies
from simulator.config.compat import COMPATS, Compat
from simulator.engine.config import EngineRules

ROOM = Path(__file__).parents[3] / "simulator"
TREES = {path.relative_to(ROOM).as_posix(): ast.parse(path.read_text()) for path in ROOM.rglob("*.py")}
# The table itself, and the catalogue of metric families, whose column of versions is a table too.
TABLES = {"config/compat.py", "server/metrics/families.py"}
VERSION = re.compile(r"(vllm|llm-?d|v)?[-_ ]?v?\d+\.\d+(\.\d+)?|llm-?d|vllm", re.IGNORECASE)
TABLE_NAMES = re.compile(r"(compat|behaviour|imitated)$")


def read_of(whose: re.Pattern[str]) -> set[str]:
    """Attributes that are read of an expression that ends so."""
    return {
        node.attr
        for name, tree in TREES.items()
        if name not in TABLES
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and whose.search(ast.unparse(node.value))
    }


READ = {
    Compat: read_of(TABLE_NAMES),
    EngineRules: read_of(re.compile("config$")),
    Bodies: read_of(re.compile("bodies$")),
}


def rows(table: type) -> list[str]:
    return [field.name for field in fields(table)]


@pytest.mark.parametrize(
    ("table", "row"), [(table, row) for table in (Compat, EngineRules, Bodies) for row in rows(table)]
)
def test_every_row_is_read(table: type, row: str) -> None:
    assert row in READ[table], f"nobody asks for {row}: take it out of the table"


@pytest.mark.parametrize("row", [row for row in rows(Compat) if row not in ("name", "version", "bodies")])
def test_every_row_tells_servers_apart(row: str) -> None:
    assert len({str(getattr(server, row)) for server in COMPATS.values()}) > 1, "one answer for all is no row"


def compared(node: ast.AST) -> list[ast.expr]:
    """What a comparison, a match or a look-up by value holds against something."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.MatchValue):
        return [node.value]
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.args if is_method and node.func.attr in ("startswith", "endswith") else []


def versions_in(node: ast.AST) -> list[str]:
    return [
        found.value
        for side in compared(node)
        for found in ast.walk(side)
        if isinstance(found, ast.Constant) and isinstance(found.value, str) and VERSION.fullmatch(found.value)
    ]


def test_what_counts_as_a_version() -> None:
    bad = (
        "a == '0.33'", "x in ('epp', '0.11')", "'vllm-0.33' == f(y)", "a.name != 'llm-d-0.7'", "b == 'llm-d'",
        "n.startswith('vllm-0.')  or  n == 'v0.7.1'",
    )  # fmt: skip
    for text in bad:
        assert any(versions_in(node) for node in ast.walk(ast.parse(text))), text
    good = ("a == 'go'", "row = '0.33'", "x in ('fcfs', 'priority')", "n == '1'")
    for text in good:
        assert not any(versions_in(node) for node in ast.walk(ast.parse(text))), text


@pytest.mark.parametrize("name", sorted(set(TREES) - TABLES))
def test_no_version_is_compared_outside_the_table(name: str) -> None:
    found = [(node.lineno, v) for node in ast.walk(TREES[name]) for v in versions_in(node)]  # type: ignore[attr-defined]
    assert not found, f"{name} compares versions {found}: make it a row of the table, and ask for that"


def test_no_name_of_a_version_travels() -> None:
    """Constants that hold a name would let a comparison hide."""
    for name in sorted(set(TREES) - TABLES):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.ImportFrom) and node.module == "simulator.server.metrics.families":
                assert not {alias.name for alias in node.names} & {"V033", "V011", "LLMD"}, name
            if isinstance(node, ast.Compare):
                for side in (node.left, *node.comparators):
                    is_name = isinstance(side, ast.Attribute) and side.attr in ("version", "name")
                    of_table = is_name and "compat" in ast.unparse(side).lower()
                    assert not of_table, f"{name}:{node.lineno} compares {ast.unparse(side)}"
