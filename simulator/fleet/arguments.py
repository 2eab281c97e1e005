"""The flags that only `simfleet fleet` has; all others are `serve`'s and go on to it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.flags.table import FLAGS, find_long
from simulator.errors import ConfigError

_OWN = {
    "--replicas": True, "--address": True, "--consecutive-ports": False, "--name-prefix": True,
    "--overrides": True, "--processes": True, "--first": True, "--child": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FleetArguments:
    """The fleet's own flags, and what is left for `serve`."""

    replicas: int = 1
    address: str = "127.0.0.2"
    consecutive_ports: bool = False
    name_prefix: str = "simfleet"
    overrides: str | None = None
    processes: int = 1
    first: int = 0
    child: bool = False  # of --processes: ends when its standard input does
    serve: tuple[str, ...] = ()


def split(argv: Sequence[str]) -> FleetArguments:
    """Take the fleet's own flags out of a command line; raises ConfigError."""
    found: dict[str, Any] = {}
    rest: list[str] = []
    position = 0
    while position < len(argv):
        argument = argv[position]
        position += 1
        name, equals, value = argument.partition("=")
        name = name.replace("_", "-")
        takes_value = _OWN.get(name)
        if takes_value is None:
            if meant := _meant(name):
                hint = f"did you mean {meant}? (`simfleet fleet --help` lists all)"
                raise ConfigError(f"unknown flag {name}; {hint}")
            rest.append(argument)
        elif not takes_value:
            found[name] = True
        elif equals:
            found[name] = value
        elif position < len(argv):
            found[name] = argv[position]
            position += 1
        else:
            raise ConfigError(f"{name} needs a value")
    return _typed(found, rest)


def _meant(name: str) -> str | None:
    """The fleet's own flag that a name resembles which `serve` does not have either."""
    known = name[:2] != "--" or any(flag.startswith(name[2:]) for flag in FLAGS) or find_long(name[2:])
    close = [] if known else difflib.get_close_matches(name, _OWN.keys() - {"--child"}, n=1, cutoff=0.8)
    return close[0] if close else None


def _typed(found: Mapping[str, Any], rest: Sequence[str]) -> FleetArguments:
    values: dict[str, Any] = {}
    for name, value in found.items():
        field = name[2:].replace("-", "_")
        if field in ("replicas", "processes", "first"):
            least = 0 if field == "first" else 1
            if not str(value).isdigit() or int(value) < least:
                raise ConfigError(f"{name}: {value!r} is not an integer of {least} or more")
            values[field] = int(value)
        else:
            values[field] = value
    return FleetArguments(serve=tuple(rest), **values)
