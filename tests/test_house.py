"""The house rules that a machine can check: sizes, circles, arrows, purity, what is never reached, errors.

The map that they hold the code to is AGENTS.md: a line `loadgen: numbers < scenario < plan` there
says that a folder may import the folders to its left, and none to its right.
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from radon.complexity import cc_visit

ROOT = Path(__file__).parents[1]
ROOMS = ("simulator", "gateway", "loadgen", "kit", "simfleet")
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
FOLDERS = sorted({p.parent for p in FILES})
MAX_MODULES = 15
MAX_LINES, COLUMNS = 400, 100
MAX_BRANCHES, MAX_FUNCTION = 15, 60

# module or folder -> the modules of another room that it may import; kit is open to every room
ALLOWED = {
    "gateway.stack.stack": {"simulator.fleet.fleet", "simulator.config", "simulator.errors"},
    "gateway.stack.serving": {"simulator.config", "simulator.errors"},
    "gateway.cli": {"simulator.cli"},
    "simfleet.load": {"loadgen.judge.report"},
    "gateway.simulate": {
        *("simulator.engine", "simulator.config", "simulator.sources", "simulator.replay"),
        *("simulator.errors", "simulator.server.errors", "simulator.server.requests"),
        *("simulator.server.metrics", "loadgen.plan.plan", "loadgen.records", "loadgen.numbers"),
        "loadgen.errors",
    },
    "gateway.size": {"simulator.engine.pace", "simulator.replay.world"},
}
# Modules that are started, not imported: by `python -m`, by a console script or from a Makefile.
STARTED = {
    "simulator.__main__": "python -m simulator",
    "gateway.cli": "the console script simfleet",
    "gateway.picker.__main__": "a process of its own, started by gateway.stack.pickers",
    "gateway.commands.demo": "make demo",
    "gateway.ui.__main__": "a process of its own, started by gateway.commands.ui",
    "gateway.commands.table": "imported by name when a live table is asked for",
    "loadgen.cli": "the console script loadgen",
    "simfleet": "what users import",
    "simfleet.pytest_plugin": "the entry point pytest11",
    "loadgen.client.nullserver": "a process of its own, started by loadgen.run.selftest",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def imports_of(module: str) -> frozenset[str]:
    """What a module imports, wherever in it the import stands; modules where one is meant."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute here"
            base = node.module or ""
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {base}
            if names - MODULES.keys():
                found.add(base)
    return frozenset(found)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_folder_is_small_enough_to_be_seen(folder: Path) -> None:
    modules = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES, modules


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    """At most 400 lines, counted at 100 columns: a longer line counts as the two that it would be."""
    lines = path.read_text().splitlines()
    assert sum(max(1, math.ceil(len(line) / COLUMNS)) for line in lines) <= MAX_LINES


def test_a_function_is_followed_at_first_reading() -> None:
    """At most 15 ways through it, as radon counts them (McCabe 1976, boolean operators too)."""
    above = {
        f"{module}.{block.fullname}"
        for module, path in MODULES.items()
        for block in cc_visit(path.read_text())
        if block.letter in "FM" and block.complexity > MAX_BRANCHES
    }
    assert not above, "give a missing noun or verb a function of its own"


def test_a_function_fits_on_a_screen() -> None:
    """At most 60 lines, from `def` to the last."""
    long = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION
    ]
    assert not long


def test_no_circles() -> None:
    assert list(circles()) == []


def circles() -> Iterator[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports_of(module) & MODULES.keys() - {module}):
            if other not in index:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            ring = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(ring) > 1:
                yield sorted(ring)

    for module in MODULES:
        if module not in index:
            yield from visit(module)


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_along_the_arrows(module: str) -> None:
    room = module.split(".")[0]
    for name in imports_of(module):
        other = name.split(".")[0]
        if other in ROOMS and other not in (room, "kit"):
            allowed = [a for who, whom in ALLOWED.items() if within(module, who) for a in whom]
            assert any(within(name, a) for a in allowed), (
                f"{module} imports {name}: no such arrow in AGENTS.md"
            )


def chains() -> dict[str, list[str]]:
    """The stages of each folder that has sub-folders, lowest first, as AGENTS.md draws them."""
    text = (ROOT / "AGENTS.md").read_text()
    rows = re.findall(r"^ {4}([\w/]+): +(\w+(?: < \w+)+)$", text, re.MULTILINE)
    return {folder.replace("/", "."): stages.split(" < ") for folder, stages in rows}


def stages_of(package: str) -> set[str]:
    """The sub-folders of a package that hold modules."""
    return {m.removeprefix(package + ".").split(".")[0] for m in MODULES if within(m, package)} & {
        p.name for p in MODULES[package].parent.iterdir() if p.is_dir()
    }


@pytest.mark.parametrize("package", [m for m, p in MODULES.items() if p.name == "__init__.py"])
def test_stages_import_only_what_is_below_them(package: str) -> None:
    stages = stages_of(package)
    if len(stages) < 2:
        return
    order = chains().get(package)
    assert order, f"AGENTS.md draws no order of {package}'s stages {sorted(stages)}"
    assert set(order) == stages
    for module in MODULES:
        mine = module.removeprefix(package + ".").split(".")[0]
        if not within(module, package) or mine not in stages:
            continue
        for name in imports_of(module):
            theirs = name.removeprefix(package + ".").split(".")[0]
            if within(name, package) and theirs in stages:
                assert order.index(theirs) <= order.index(mine), f"{module} imports {name}, upward"


def test_every_module_is_reached() -> None:
    """Imported by another module, or started by a command that is named here."""
    imported = {name for module in MODULES for name in imports_of(module) - {module}}
    alone = {m for m, p in MODULES.items() if p.name != "__init__.py"} - imported
    assert alone == STARTED.keys() & alone, alone - STARTED.keys()
    assert STARTED.keys() <= MODULES.keys()


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "kit") and m != "kit"])
def test_kit_knows_no_room_and_serves_at_least_two(module: str) -> None:
    assert {n.split(".")[0] for n in imports_of(module)}.isdisjoint(set(ROOMS) - {"kit"})
    users = {m.split(".")[0] for m in MODULES if module in imports_of(m)}
    below = "kit" in users  # a part of another kit module, which answers for it
    assert below or len(users) >= 2, f"only {users} use it: it belongs there"


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "simulator.engine")])
def test_engine_is_pure(module: str) -> None:
    """Standard library only, no clock, no I/O, and nothing of the server."""
    banned = {"asyncio", "time", "socket", "threading", "selectors", "datetime", "select"}
    for name in imports_of(module):
        top = name.split(".")[0]
        if top == "simulator":
            assert within(name, "simulator.engine") or within(name, "simulator.errors"), name
        else:
            assert top in sys.stdlib_module_names, f"{module} imports {name}"
            assert top not in banned, f"{module} imports {name}: time comes in as `now`"


def test_the_arrows_stand_in_agents_md() -> None:
    text = (ROOT / "AGENTS.md").read_text()
    for module in ALLOWED:
        assert module in text
    assert len(text.splitlines()) < 100


def public_functions(tree: ast.AST, above: str = "", name: str = "") -> Iterator[tuple[str, str, ast.AST]]:
    """Functions and methods that others may call: their name, the docstring of their class, their node."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield name + node.name, above, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, ast.get_docstring(node) or "", f"{name}{node.name}.")


def raised_in(function: ast.AST) -> Iterator[str]:
    """What the function's own statements raise; nested functions, re-raises and abstract methods apart."""
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield ast.unparse(node.exc)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_public_functions_say_what_they_raise(path: Path) -> None:
    """In their own docstring or in their class's, by the error's name or as an error."""
    for name, above, function in public_functions(ast.parse(path.read_text())):
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        said = re.search(r"[Rr]aise|[Ee]rror", f"{above} {ast.get_docstring(function)}")
        raised = [e for e in raised_in(function) if e != "NotImplementedError"]
        assert said or not raised, f"{name} raises {raised} and does not say so"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_errors_stand_in_the_tree_of_their_room(path: Path) -> None:
    """Each exception class of a module is drawn in the errors.py of its folder, or of one above it."""
    above = [p / "errors.py" for p in path.parents if (p / "errors.py").exists() and p != ROOT]
    drawn = " ".join(ast.get_docstring(ast.parse(p.read_text())) or "" for p in above)
    if path == ROOT / "kit" / "errors.py":
        return  # the one error of the shelf, which each room's tree takes in
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.bases and re.fullmatch(r"[A-Z]\w*Error", node.name):
            assert re.search(rf"\b{node.name}\b", drawn), f"{node.name} is not drawn in {above}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_bytes_that_are_no_utf_8_are_taken_as_no_json(path: Path) -> None:
    """msgspec raises UnicodeDecodeError for them, none of its own errors: who takes one takes both."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = ast.unparse(node.type)
            assert not re.search(r"msgspec\.(MsgspecError|DecodeError)", caught) or (
                "UnicodeDecodeError" in caught or path == ROOT / "gateway/picker/pool/discovery.py"
            ), f"line {node.lineno}: except {caught}"  # discovery's is text


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_constants_are_explained_by_comments(path: Path) -> None:
    """Behind them or above them, never by a string below, which is a second way to say it."""
    for above, below in pairwise(ast.parse(path.read_text()).body):
        if isinstance(above, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
            assert not isinstance(below.value, ast.Constant), (
                f"line {below.lineno}: a string below a constant"
            )
