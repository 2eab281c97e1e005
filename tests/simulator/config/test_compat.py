"""The table of imitated servers: what rows say, who reads them, and that nothing else knows versions."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from simulator.config.bodies import Bodies
from simulator.config.compat import COMPATS, Compat, compat
from simulator.engine.config import EngineRules
from simulator.errors import ConfigError


def rows(table: type) -> list[str]:
    return [field.name for field in dataclasses.fields(table)]


NAMES = ["vllm-0.33", "vllm-0.11", "llm-d-0.7", "llm-d-0.8", "llm-d-0.9", "llm-d-0.10"]
VERSIONS = ["0.33.0", "0.11.0", "0.7.1", "0.8.0", "0.9.0", "0.10.0"]
ORDERS = [row for row in rows(Bodies) if row not in ("optional", "chunk_optional")]


def test_the_names_there_are() -> None:
    assert list(COMPATS) == NAMES
    assert {name: row.name for name, row in COMPATS.items()} == {name: name for name in NAMES}
    assert [COMPATS[name].version for name in NAMES] == VERSIONS
    assert all(compat(name) is COMPATS[name] for name in NAMES)


@pytest.mark.parametrize("name", ["", "vllm", "VLLM-0.33", "vllm-0.33.0", "0.33"])
def test_a_name_that_is_none_is_told_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compat(name)
    assert str(caught.value) == f"--compat {name!r} is unknown; there are {', '.join(NAMES)}"


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        COMPATS["vllm-0.33"].go_json = True  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", ORDERS)
def test_an_order_of_keys_has_each_once(name: str, order: str) -> None:
    keys = getattr(COMPATS[name].bodies, order)
    assert keys
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_left_out_is_a_key_somewhere(name: str) -> None:
    bodies = COMPATS[name].bodies
    inner = {"system_fingerprint", "tool_calls"}  # delta's own keys, and what 0.11's chunks never have
    known = {key for order in ORDERS for key in getattr(bodies, order)} | inner
    assert bodies.optional | bodies.chunk_optional <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_server_answers_with_the_keys_that_clients_read(name: str) -> None:
    bodies = COMPATS[name].bodies
    for order in ("completion", "chat", "completion_chunk", "chat_chunk"):
        assert {"id", "object", "created", "model", "choices"} <= set(getattr(bodies, order))
    assert {"index", "text", "finish_reason"} <= set(bodies.completion_choice)
    assert {"index", "message", "finish_reason"} <= set(bodies.chat_choice)
    assert {"index", "delta", "finish_reason"} <= set(bodies.chat_chunk_choice)
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(bodies.usage)
    assert {"id", "object", "created", "owned_by", "root", "parent"} <= set(bodies.model_card)


def test_what_0_11_has_not() -> None:
    new, old = COMPATS["vllm-0.33"].bodies, COMPATS["vllm-0.11"].bodies
    assert set(new.completion) - set(old.completion) == {"ec_transfer_params", "metrics"}
    assert set(new.chat) - set(old.chat) == {"prompt_text", "ec_transfer_params", "metrics"}
    assert set(new.usage) - set(old.usage) == {"completion_tokens_details"}
    assert (new.chat_message[-1], old.chat_message[-1]) == ("reasoning", "reasoning_content")
    assert "system_fingerprint" not in old.chat_chunk


def test_llmd_runs_on_the_older_engine() -> None:
    new, old, llmd = (COMPATS[name] for name in NAMES[:3])
    assert {row for row in rows(EngineRules) if getattr(new.engine, row) == getattr(old.engine, row)} == set()
    assert (llmd.engine, llmd.async_scheduling) == (old.engine, old.async_scheduling)
    assert new.async_scheduling is not old.async_scheduling


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("default_completion_tokens", (16, 16, None)),
        ("max_temperature", (2.0, None, None)),
        ("context_overflow", ("clamp", "reject", "reject-sum")),
        ("validation_errors", ("compact", "verbose", "go")),
        ("id_style", ("hex16", "hex32", "uuid")),
        ("max_waiting_queue_length", (None, None, 1000)),
        ("embeddings", ("absent", "unsupported", "served")),
        ("lora_gauge", ("active", "with-outputs", "current")),
        ("kv_event_encoding", ("map", "array", "array")),
        ("health_body", (b"", b"", b"{}")),
    ],
)
def test_where_the_servers_part(field: str, values: tuple[Any, ...]) -> None:
    assert tuple(getattr(COMPATS[name], field) for name in NAMES[:3]) == values


# --- who reads the table -----------------------------------------------------------------------------

ROOM = Path(__file__).parents[3] / "simulator"
TREES = {path.relative_to(ROOM).as_posix(): ast.parse(path.read_text()) for path in ROOM.rglob("*.py")}
# The table itself, and the catalogue of metric families, whose column of versions is a table too.
TABLES = {"config/compat.py", "server/metrics/families.py"}
VERSION = re.compile(
    r"(?!1\.[01]$)(vllm|llm-?d|v)?[-_ ]?v?\d+\.\d+(\.\d+)?|llm-?d|vllm", re.IGNORECASE
)  # 1.0 and 1.1 are HTTP's
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
