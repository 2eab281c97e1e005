"""`simfleet serve`: one replica in this process, from start to SIGTERM."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.console import show
from simulator.config.commandline.help import serve_help
from simulator.config.commandline.vllm_parser import parse_arguments
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.fleet.fleet import ReplicaSpec


def serve_command(argv: Sequence[str]) -> int:
    """Serve until a signal ends it; returns the exit code. Raises SimfleetError."""
    arguments = parse_arguments(argv)
    if arguments.wants_help:
        show(serve_help())
        return 0
    from simulator.config.resolve import configuration  # noqa: PLC0415 - --help does without

    config = configuration(arguments, os.environ)
    from simulator.fleet.lifecycle import run_until_signal  # noqa: PLC0415
    from simulator.server.logs import set_up  # noqa: PLC0415

    set_up(config.log_format, config.log_level)
    return run_until_signal(lambda: _serve(config))


async def _serve(config: ServeConfig) -> int:
    from simulator.fleet.fleet import Fleet  # noqa: PLC0415 - FastAPI takes half a second
    from simulator.fleet.lifecycle import Signals, announce, shut_down, statistics  # noqa: PLC0415

    signals = Signals()  # before the sockets open: a signal in between must not kill without a word
    async with Fleet(single=True) as fleet:
        await fleet.add(spec_of(config))
        await fleet.serve_control(config.control)
        announce(fleet, config)
        with statistics(fleet, config, named=False):
            await signals.first()
            return await shut_down(fleet, config, signals)


def spec_of(config: ServeConfig) -> ReplicaSpec:
    """Where the configuration itself says that the replica is; raises ConfigError."""
    from simulator.fleet.fleet import ReplicaSpec  # noqa: PLC0415

    count = config.ranks.num_ports
    if config.uds and count > 1:
        raise ConfigError("--uds serves one rank; give --host and --port for data parallelism")
    ports = tuple(range(config.port, config.port + count))
    return ReplicaSpec(config.pod_name or socket.gethostname(), config.host, ports, config)
