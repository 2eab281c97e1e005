"""Arguments, environment and YAML -> one mapping of given values, each with where it was given.

The command line wins over the environment, the environment over the file. A flag may be written with dashes
or underscores, as `--x value`, `--x=value`, `--no-x`, `--json.key value`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.table import find_long, find_short, nearest
from simulator.config.flags.values import is_boolean, read
from simulator.errors import ConfigError

_IS_FLAG = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Given:
    """A value and the words for where it came from ("--port", "config.yaml:3 port", "SIM_MODEL")."""

    value: Any
    where: str


@dataclass(slots=True)
class Arguments:
    """What a command line says: values by canonical flag name, and what is no flag."""

    given: dict[str, Given] = field(default_factory=dict)
    positional: list[str] = field(default_factory=list)
    wants_help: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Read a command line; raises ConfigError on unknown flags and unreadable values."""
    result = Arguments()
    position = 0
    while position < len(argv):
        argument = argv[position]
        position += 1
        if argument in ("-h", "--help"):
            result.wants_help = True
        elif argument == "--":
            result.positional.extend(argv[position:])
            break
        elif not _IS_FLAG.match(argument):
            result.positional.append(argument)
        else:
            position = _take(result, argument, argv, position)
    return result


def _take(result: Arguments, argument: str, argv: Sequence[str], position: int) -> int:
    """Read the flag `argument` with its values from argv[position:]; returns the position after them."""
    flag, negated, key, attached = _split(argument)
    where = argument.split("=", 1)[0]
    if negated:
        if attached is not None:
            raise ConfigError(f"{where} takes no value")
        if key:
            raise ConfigError(f"{where}: --{flag.name} has no keys; it takes {flag.kind.value}")
        result.given[flag.name] = Given(False, where)
        return position
    values = [] if attached is None else [attached]
    if attached is None:
        values = list(_following(flag, key, argv, position))
        position += len(values)
    if key:
        _set_key(result.given, flag, key, values[0], where)
    elif flag.kind is Kind.BOOL:
        result.given[flag.name] = Given(read(flag, values[0] if values else True, where), where)
    elif flag.many:
        _extend(result.given, flag, values, where)
    else:
        result.given[flag.name] = Given(read(flag, values[0], where), where)
    return position


def _split(argument: str) -> tuple[Flag, bool, str, str | None]:
    """(flag, negated, dotted key, attached value) of an argument that looks like a flag."""
    if argument.startswith("--"):
        name, equals, attached = argument[2:].partition("=")
        stem, _, key = name.partition(".")
        found = find_long(stem)
        if found is None:
            raise unknown(stem, f"--{stem}")
        return found[0], found[1], key, attached if equals else None
    short = find_short(argument)
    if short is None:
        raise unknown(argument.lstrip("-").partition("=")[0], argument)
    flag, rest = short
    if rest.startswith("."):
        key, equals, attached = rest[1:].partition("=")
        return flag, False, key, attached if equals else None
    return flag, False, "", rest.removeprefix("=") if rest else None


def unknown(name: str, where: str) -> ConfigError:
    """The error for a flag or key that does not exist."""
    close = nearest(name)
    hint = f"; did you mean --{close}?" if close else ""
    return ConfigError(f"unknown flag {where}{hint} (`simfleet serve --help` lists all)")


def _following(flag: Flag, key: str, argv: Sequence[str], position: int) -> Iterator[str]:
    if flag.kind is Kind.BOOL and not key:
        if position < len(argv) and is_boolean(argv[position]):
            yield argv[position]
        return
    if flag.many and not key:
        while position < len(argv) and not _IS_FLAG.match(argv[position]):
            yield argv[position]
            position += 1
        return
    if position >= len(argv) or _IS_FLAG.match(argv[position]):
        raise ConfigError(f"--{flag.name} needs a value: {flag.kind.value}")
    yield argv[position]


def _extend(given: dict[str, Given], flag: Flag, values: list[str], where: str) -> None:
    if (
        flag.kind is Kind.LORA
    ):  # each occurrence adds adapters; other lists are replaced, as vLLM's parser does
        before = given[flag.name].value if flag.name in given else ()
        given[flag.name] = Given((*before, *read(flag, values, where)), where)
    else:
        given[flag.name] = Given(read(flag, values, where), where)


def _set_key(given: dict[str, Given], flag: Flag, dotted: str, text: str, where: str) -> None:
    """`--flag.a.b value`: one key of a JSON flag; the value is JSON where it can be, else text."""
    if flag.inert:
        given[flag.name] = Given(text, where)
        return
    if flag.kind is not Kind.JSON:
        raise ConfigError(f"{where}: --{flag.name} has no keys; it takes {flag.kind.value}")
    known = given.get(flag.name)
    root: dict[str, Any] = dict(known.value) if known and isinstance(known.value, Mapping) else {}
    node = root
    *path, last = dotted.split(".")
    for step in path:
        inner = node.get(step)
        node[step] = dict(inner) if isinstance(inner, Mapping) else {}
        node = node[step]
    try:
        node[last] = json.loads(text)
    except ValueError:
        node[last] = text
    given[flag.name] = Given(root, f"--{flag.name}")
