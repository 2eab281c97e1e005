"""What the commands of this room share of their command lines."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from gateway.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse that raises; the caller decides how to exit."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with the usage below the message."""
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def add_repeatable(group: argparse._ActionsContainer, *names: str, **how: Any) -> None:
    """A flag that may be given several times; its value is the list, [] without it."""
    group.add_argument(*names, action="append", default=[], **how)


def add_manifests(group: argparse._ActionsContainer, metavar: str, help_: str) -> None:
    """`-f` as `sources`, and `-n`."""
    add_repeatable(group, "-f", "--filename", metavar=metavar, dest="sources", help=help_)
    group.add_argument("-n", "--namespace", default="default", help="namespace of objects that name none")
