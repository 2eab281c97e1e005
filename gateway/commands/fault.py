"""`simfleet fault`: faults of the pods of a running stack, by name."""

from __future__ import annotations

import argparse

from gateway.stack.faults import FAULTS, Fault, read_faults
from gateway.stack.socket import ask
from gateway.stack.statedir import find_stack
from kit.console import say


def fault_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The arguments of `fault` added to a command's parser."""
    parser.add_argument("pod", help="name of a pod (its end is enough), or all")
    parser.add_argument("fault", nargs="*", metavar="FAULT", help="NAME or NAME=VALUE; none: those in force")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    rows = [f"  {_form(name, fault):<40} {fault.about}" for name, fault in FAULTS.items()]
    parser.epilog = "\n".join(["faults:", *rows, f"  {'off':<40} ends all of them"])
    return parser


def _form(name: str, fault: Fault) -> str:
    if fault.default is None:
        return f"{name}={fault.value}"
    return f"{name}[={fault.value}] ({fault.default})" if fault.value else name


def run_fault(arguments: argparse.Namespace) -> int:
    """Set what the arguments ask for in the stack they name; the exit code.

    Raises UsageError for faults that do not exist, ControlError for a stack that refuses.
    """
    wanted = read_faults(arguments.fault)
    directory = find_stack(arguments.stack)
    answer = ask(
        directory.socket,
        "fault",
        name=arguments.pod,
        changes=wanted.changes,
        clear=wanted.clear,
        stall_s=wanted.stall_s,
    )
    say(answer)
    return 0
