"""`--help` from the flag table."""

from __future__ import annotations

import textwrap

from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.table import FLAGS

_WIDTH = 100
_INDENT = " " * 6


def serve_help() -> str:
    """The whole help of `simfleet serve`."""
    return (
        "usage: simfleet serve [MODEL] [flags]\n\n"
        "One replica that imitates `vllm serve`. Flags may be written with dashes or underscores, booleans\n"
        "as --no-x too, JSON also as --flag.key value; --config FILE takes them from YAML.\n" + flags_help()
    )


def flags_help() -> str:
    """All flags that do something, by group, and the names of those that do nothing."""
    groups: dict[str, list[Flag]] = {}
    for flag in FLAGS.values():
        if not flag.inert:
            groups.setdefault(flag.group, []).append(flag)
    parts: list[str] = []
    for group, flags in groups.items():
        parts.append(f"\n{group}:\n")
        parts.extend(_entry(flag) for flag in flags)
    parts.append("\naccepted without effect:\n")
    names = " ".join(sorted(f"--{flag.name}" for flag in FLAGS.values() if flag.inert))
    parts.append(_filled(names, "  "))
    return "".join(parts) + "\n"


def _filled(text: str, indent: str) -> str:
    """Lines of _WIDTH; a flag's name is never broken at its dashes."""
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _entry(flag: Flag) -> str:
    value = (
        "" if flag.kind is Kind.BOOL else " " + ("|".join(filter(None, flag.choices)) or _placeholder(flag))
    )
    names = ", ".join((*flag.aliases, f"--{flag.name}"))
    default = f" [{flag.default}]" if flag.default else ""
    about = _filled(flag.help + default, _INDENT)
    return f"  {names}{value}\n{about}\n"


def _placeholder(flag: Flag) -> str:
    return {
        Kind.INT: "N",
        Kind.HUMAN_INT: "N",
        Kind.FLOAT: "X",
        Kind.DURATION: "20ms",
        Kind.LIST: "A B ...",
        Kind.JSON: "JSON",
        Kind.LORA: "NAME=PATH|JSON ...",
    }.get(flag.kind, "TEXT")
