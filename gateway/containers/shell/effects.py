"""What commands may change, seen without following them: for conditions whose outcome is not known.

A part of a script that is inert changes nothing that the rest could notice, whether it runs or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

from gateway.containers.grammar.syntax import (
    ArithmeticFor,
    Assignment,
    Block,
    Condition,
    For,
    Function,
    HereDoc,
    Param,
    Reckoning,
    Redirect,
    Simple,
    Word,
)

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DECLARING = frozenset(
    [
        "export",
        "declare",
        "typeset",
        "local",
        "readonly",
        "unset",
        "read",
        "let",
        "getopts",
        "mapfile",
        "readarray",
        "printf",
    ]
)
_WRITING = frozenset({">", ">>", ">|", "&>", "&>>", "<>"})
# Programs that only look or make files that no flag of a server names.
_HARMLESS = frozenset(
    [
        ":",
        "[",
        "test",
        "true",
        "false",
        "echo",
        "sleep",
        "curl",
        "wget",
        "nvidia-smi",
        "rocm-smi",
        "ls",
        "pip",
        "pip3",
        "apt",
        "apt-get",
        "apk",
        "yum",
        "dnf",
        "mkdir",
        "kill",
        "pkill",
        "pgrep",
        "ps",
        "date",
        "df",
        "du",
        "free",
        "ip",
        "ifconfig",
        "nc",
        "ping",
        "ulimit",
        "umask",
        "which",
        "type",
        "hostname",
        "uname",
        "id",
        "whoami",
        "nproc",
        "lscpu",
        "lspci",
        "grep",
        "egrep",
        "wc",
        "ray",
        "huggingface-cli",
        "hf",
        "aws",
        "gsutil",
        "gcloud",
        "az",
        "git",
        "jq",
        "sync",
        "sysctl",
        "mount",
        "nslookup",
        "dig",
        "getent",
        "ibstat",
        "ibv_devinfo",
        "ldconfig",
        "killall",
    ]
)


@dataclass(frozen=True)
class Effects:
    """`names` of variables that may be assigned; `is_inert`: nothing else changes either."""

    names: frozenset[str]
    is_inert: bool
    everything: bool = False  # code that is not in sight may run: any variable may change


def effects(block: Block, functions: Iterable[str]) -> Effects:
    """What the commands of `block` may do; a call of a function may do anything."""
    names: set[str] = set()
    known = frozenset(functions)
    is_inert, everything = True, False
    for node in _nodes(block):
        found = _assigned(node)
        names.update(found)
        is_inert &= not found and not _changes(node, known)
        everything |= _runs_others(node, known)
    return Effects(frozenset(names), is_inert, everything)


def _nodes(node: object) -> Iterator[object]:
    """The node and all beneath it."""
    if isinstance(node, tuple):
        for item in node:
            yield from _nodes(item)
    elif isinstance(node, HereDoc):
        yield from _nodes(node.word)
    elif is_dataclass(node):
        yield node
        for field in fields(node):
            yield from _nodes(getattr(node, field.name))


def _assigned(node: object) -> set[str]:
    if isinstance(node, Assignment):
        return {node.name}
    if isinstance(node, For):
        return {node.name}
    if isinstance(node, Param) and node.op in {"=", ":="}:
        return {node.name}
    if isinstance(node, Reckoning):
        return (
            set(_NAME.findall(node.text.source))
            if re.search(r"\+\+|--|(?<![=!<>])=(?!=)", node.text.source)
            else set()
        )
    if isinstance(node, Simple) and node.words and node.words[0].plain in _DECLARING:
        texts = [w.source.partition("=")[0] for w in node.words[1:]]
        return {t for t in texts if _NAME.fullmatch(t)} | (
            {"REPLY"} if node.words[0].plain == "read" else set()
        )
    return set()


def _changes(node: object, functions: frozenset[str]) -> bool:
    if isinstance(node, Function):
        return True
    if isinstance(node, Redirect):
        literal = node.target.literal if isinstance(node.target, Word) else ""
        return node.op in _WRITING and not (literal or "").startswith("/dev/")
    if isinstance(node, Simple):
        name = _program(node)
        return bool(node.words) and (name is None or name not in _HARMLESS or name in functions)
    return False


def _program(node: Simple) -> str | None:
    literal = node.words[0].literal if node.words else ""
    return None if literal is None else literal.rpartition("/")[2]


def _runs_others(node: object, functions: frozenset[str]) -> bool:
    if not isinstance(node, Simple) or not node.words:
        return False
    name = node.words[0].literal
    return name is None or name in functions or name in {"eval", ".", "source"}


def beyond_posix(block: Block) -> str:
    """The first thing in `block` that only bash has and dash reads otherwise; empty where there is none."""
    for node in _nodes(block):
        if isinstance(node, Condition):
            return "[[ ]]"
        if isinstance(node, Reckoning | ArithmeticFor):
            return "(( ))"
        if isinstance(node, Assignment) and (isinstance(node.value, tuple) or node.index or node.is_append):
            return f"an array or += ({node.name})"
        if isinstance(node, Param) and (
            node.op[:1] in "/^,:@" and node.op[1:] not in set("-=?+") and node.op
        ):
            return node.source
        if isinstance(node, Redirect) and node.op in {"<<<", "&>", "&>>"}:
            return node.op
    return ""
