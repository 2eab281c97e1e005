"""The simulator's commands: serve, fleet, replay, calibrate, profiles.

Each is imported when it is called, so that `--help` costs nothing. Exit codes: 0 done, 1 it went wrong while
running, 2 the command line or a file is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kit.console import complain, exit_code, show
from simulator.errors import ConfigError, SimfleetError

_USAGE = """usage: python -m simulator COMMAND [flags]

  serve      one replica: an imitation of `vllm serve`, with its flags
  fleet      many replicas in one process, each on its own address
  replay     a workload through engines in virtual time
  calibrate  a step model of one's own server
  profiles   the named step models

`python -m simulator COMMAND --help` lists a command's flags.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command that argv names; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        show(_USAGE)
        return 0 if argv else 2
    command, rest = argv[0], list(argv[1:])
    if command.startswith("-"):  # an image whose entry point is the simulator gets flags only
        command, rest = "serve", list(argv)
    return exit_code(lambda: run(command, rest))


def run(command: str, argv: Sequence[str]) -> int:
    """Run one command; errors become one line on standard error and an exit code."""
    try:
        return _run(command, argv)
    except ConfigError as error:
        complain(f"simfleet {command}: {error}")
        return 2
    except SimfleetError as error:
        complain(f"simfleet {command}: {error}")
        return 1


def profile_names() -> list[str]:
    """The named step models."""
    from simulator.engine.pace.profiles import PROFILES  # noqa: PLC0415

    return list(PROFILES)


def _run(command: str, argv: Sequence[str]) -> int:
    if command == "serve":
        from simulator.fleet.serve_command import serve_command  # noqa: PLC0415

        return serve_command(argv)
    if command == "fleet":
        from simulator.fleet.fleet_command import fleet_command  # noqa: PLC0415

        return fleet_command(argv)
    if command == "replay":
        from simulator.replay.replay_command import add_arguments  # noqa: PLC0415
        from simulator.replay.replay_command import run as replay  # noqa: PLC0415

        parser = argparse.ArgumentParser(
            "simfleet replay", description="A workload through engines in virtual time."
        )
        add_arguments(parser)
        return replay(parser.parse_args(argv))
    if command == "calibrate":
        from simulator.calibrate.calibrate_command import add_arguments as add_calibrate  # noqa: PLC0415
        from simulator.calibrate.calibrate_command import run as run_calibrate  # noqa: PLC0415

        parser = argparse.ArgumentParser(
            "simfleet calibrate", description="A profile of one's own server, from runs measured there."
        )
        add_calibrate(parser)
        return run_calibrate(parser.parse_args(argv))
    if command == "profiles":
        from simulator.replay.profiles_command import add_profiles_arguments, run_profiles  # noqa: PLC0415

        parser = argparse.ArgumentParser("simfleet profiles", description="The named step models.")
        add_profiles_arguments(parser)
        return run_profiles(parser.parse_args(argv))
    raise ConfigError(f"unknown command {command!r}; there are serve, fleet, replay, calibrate and profiles")
