"""`simfleet fleet`.

Many replicas, on consecutive loopback addresses or consecutive ports, in one process or several.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.console import show
from kit.errors import DocumentError
from simulator.config.commandline.help import flags_help
from simulator.config.commandline.vllm_parser import parse_arguments
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError
from simulator.fleet.arguments import FleetArguments, split

if TYPE_CHECKING:
    from simulator.fleet.fleet import ReplicaSpec
    from simulator.fleet.lifecycle import Signals

_HELP = """usage: simfleet fleet --replicas N [--address 127.0.0.2] [--port 8000] [flags of serve]

Many replicas in one process, each with its own engine on its own address.

fleet:
  --replicas N
      Number of replicas. [1]
  --address A
      Address of the first; the others take the following ones (127.0.0.2, 127.0.0.3, ...). [127.0.0.2]
  --consecutive-ports
      All on --address; the replicas take consecutive ports instead.
  --name-prefix TEXT
      Replicas are called TEXT-0, TEXT-1, ...; it is the x-inference-pod of answers. [simfleet]
  --overrides FILE
      YAML: flags for single replicas, by index or name, such as `2: {inter-token-latency: 40ms}`.
  --processes K
      Spread the replicas over K processes. [1]
  --first N
      Index of the first replica. [0]
"""


def fleet_command(argv: Sequence[str]) -> int:
    """Run the fleet until a signal ends it; returns the exit code. Raises SimfleetError."""
    own = split(argv)
    arguments = parse_arguments(own.serve)
    if arguments.wants_help:
        show(_HELP + flags_help())
        return 0
    if own.processes > 1:
        if "control-port" in arguments.given:
            raise ConfigError("--control-port belongs to one process; take away --processes")
        from simulator.fleet.processes import run_processes  # noqa: PLC0415

        return run_processes(own)
    from simulator.config.resolve import configuration  # noqa: PLC0415 - --help does without

    base = configuration(arguments, os.environ)
    specs = specs_of(own, base, os.environ)
    from simulator.fleet.lifecycle import run_until_signal  # noqa: PLC0415
    from simulator.server.logs import set_up  # noqa: PLC0415

    set_up(base.log_format, base.log_level)
    return run_until_signal(lambda: _run(own, base, specs))


def specs_of(own: FleetArguments, base: ServeConfig, env: Mapping[str, str]) -> list[ReplicaSpec]:
    """The replicas of this command line with their addresses; raises ConfigError."""
    from simulator.fleet.fleet import ReplicaSpec  # noqa: PLC0415 - FastAPI takes half a second

    overrides = _Overrides(own, env)
    ranks = base.ranks.num_ports
    specs = []
    for index in range(own.first, own.first + own.replicas):
        name = f"{own.name_prefix}-{index}"
        config = dataclasses.replace(overrides.of(index, name, base), pod_name=name)
        host, port = own.address, base.port
        if own.consecutive_ports:
            port += index * ranks
        else:
            host = _address(own.address, index)
        if port + ranks - 1 > 65535:
            raise ConfigError(f"replica {name} would need port {port + ranks - 1}; lower --port")
        specs.append(ReplicaSpec(name, host, tuple(range(port, port + ranks)), config))
    overrides.check_used()
    return specs


def _address(first: str, index: int) -> str:
    try:
        return str(ipaddress.ip_address(first) + index)
    except ValueError:
        if index == 0:
            return first
        raise ConfigError(
            f"--address {first} is a name; consecutive addresses need a number such as 127.0.0.2 "
            "(or take --consecutive-ports)"
        ) from None


class _Overrides:
    """Flags for single replicas from a YAML file."""

    def __init__(self, own: FleetArguments, env: Mapping[str, str]) -> None:
        self._path = own.overrides
        self._serve = own.serve
        self._env = env
        self._partial = own.child
        self._flags = _read_overrides(own.overrides) if own.overrides else {}
        self._unused = set(self._flags)

    def of(self, index: int, name: str, base: ServeConfig) -> ServeConfig:
        """The configuration of one replica; raises ConfigError."""
        keys = [key for key in (str(index), name) if key in self._flags]
        if not keys:
            return base
        self._unused.difference_update(keys)
        argv = [*self._serve, *(argument for key in keys for argument in self._flags[key])]
        try:
            from simulator.config.resolve import configuration  # noqa: PLC0415

            return configuration(parse_arguments(argv), self._env)
        except ConfigError as error:
            raise ConfigError(f"{self._path}, replica {keys[0]}: {error}") from None

    def check_used(self) -> None:
        """Raise ConfigError for a replica that does not exist, unless another process has it."""
        if self._unused and not self._partial:
            wrong = min(self._unused)
            raise ConfigError(f"{self._path}: there is no replica {wrong!r}")


def _read_overrides(path: str) -> dict[str, list[str]]:
    """Replica (index or name) -> the arguments that its flags come to."""
    from kit.yamldoc import load_value  # noqa: PLC0415 - only with the flag

    try:
        found = load_value(Path(path).read_text(encoding="utf-8"), path, DocumentError)
    except OSError as error:
        raise ConfigError(f"--overrides {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--overrides {path} is not text in UTF-8: {error}") from None
    except DocumentError as error:
        raise ConfigError(f"--overrides {error}") from None
    if not isinstance(found, dict) or not all(isinstance(flags, dict) for flags in found.values()):
        raise ConfigError(
            f"--overrides {path}: expected replicas with flags, such as `2: {{max-num-seqs: 4}}`"
        )
    return {str(key): list(_as_arguments(flags)) for key, flags in found.items()}


def _as_arguments(flags: Mapping[str, Any]) -> Sequence[str]:
    result: list[str] = []
    for name, value in flags.items():
        if isinstance(value, bool):
            result.append(f"--{'' if value else 'no-'}{name}")
        elif isinstance(value, list):
            result += [f"--{name}", *(item if isinstance(item, str) else json.dumps(item) for item in value)]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            result.append(f"--{name}={text}")
    return result


def table(specs: Sequence[ReplicaSpec]) -> str:
    """Name, addresses and model of each replica, aligned."""
    rows = [("NAME", "ADDRESS", "MODEL")]
    for spec in specs:
        addresses = ",".join(f"{spec.host}:{port}" for port in spec.ports)
        rows.append((spec.name, addresses, spec.config.served_model_name))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "".join(f"{name:<{widths[0]}}  {address:<{widths[1]}}  {model}\n" for name, address, model in rows)


def _end_with_parent(signals: Signals) -> None:
    """Standard input is a pipe from the parent; it ends when the parent does, however that came."""
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        loop.remove_reader(0)
        signals.stop()

    loop.add_reader(0, on_end)


async def _run(own: FleetArguments, base: ServeConfig, specs: Sequence[ReplicaSpec]) -> int:
    from simulator.fleet.fleet import Fleet  # noqa: PLC0415
    from simulator.fleet.lifecycle import Signals, announce, shut_down, statistics  # noqa: PLC0415

    signals = Signals()
    async with Fleet() as fleet:
        await fleet.add_all(specs)
        await fleet.serve_control(base.control)
        show(table(specs))
        announce(fleet, base)
        if own.child:
            _end_with_parent(signals)
        with statistics(fleet, base, named=True):
            await signals.first()
            return await shut_down(fleet, base, signals)
