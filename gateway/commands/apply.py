"""`simfleet apply`: files on their way to the stack that they change."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import ControlError
from gateway.stack.socket import ask
from gateway.stack.statedir import StackDirectory, find_stack
from kit.console import say

TIMEOUT_S = 900.0  # a rollout waits for each pod to be ready


def run_apply(argv: list[str], parser: argparse.ArgumentParser) -> int:
    """The exit code. Raises ControlError."""
    add = parser.add_argument
    manifests = "objects to add or replace: a file, a directory or -; repeatable"
    add(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE|DIR|-",
        dest="sources",
        help=manifests,
    )
    add("-n", "--namespace", default="default", help="namespace of objects that name none")
    add("--prune", action="store_true", help="end what the stack has and these files have not")
    arguments = parser.parse_args(argv)
    directory = find_stack(arguments.stack)
    say(apply_files(directory, arguments.sources, arguments.namespace, prune=arguments.prune))
    return 0


def apply_files(directory: StackDirectory, sources: Sequence[str], namespace: str, *, prune: bool) -> str:
    """What the running stack says of its change to these objects. Raises ControlError."""
    with tempfile.TemporaryDirectory(prefix="apply", dir=directory.path) as scratch:
        paths = [_readable(source, Path(scratch) / f"{i}.yaml") for i, source in enumerate(sources)]
        options = {"sources": paths, "namespace": namespace, "prune": prune}
        try:
            told: str = ask(directory.socket, "apply", timeout_s=TIMEOUT_S, **options)
        except ControlError as error:
            words = str(error)
            for source, path in zip(sources, paths, strict=True):
                words = words.replace(path, "<stdin>" if source == "-" else source)
            raise ControlError(words) from None
    return told


def _readable(source: str, scratch: Path) -> str:
    """A path that the stack's process can read, too: what comes through a pipe is put into a file."""
    path = Path(source)
    if source != "-" and (path.is_file() or path.is_dir() or not path.exists()):
        return str(path.resolve())
    text = sys.stdin.read() if source == "-" else path.read_text(encoding="utf-8")
    scratch.write_text(text, encoding="utf-8")
    return str(scratch)
