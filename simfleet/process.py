"""Runs the commands of this package as children, and says what they said where they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.children import python
from simfleet.errors import CommandError

SIMFLEET = "import sys; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
LOADGEN = "import sys; from loadgen.cli import main; sys.exit(main(sys.argv[1:]))"
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Ended:
    """Exit code and what was said."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """Ours, with this interpreter's commands on the PATH: loadgen asks `simfleet ps` about a stack."""
    here, given = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": given if here in given.split(os.pathsep) else f"{here}{os.pathsep}{given}"}


def last_words(err: str, out: str) -> str:
    """The last lines of what a command said, of its complaints if it had any."""
    said = err.strip() or out.strip()
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def call(
    program: str,
    name: str,
    arguments: Sequence[str],
    *,
    good: Sequence[int] = (0,),
    stdin: str | None = None,
    timeout: float | None = None,
) -> Ended:
    """`simfleet` or `loadgen` (`name`) with these arguments, to its end.

    Raises CommandError for an exit code that is not `good`, TimeoutError after `timeout` seconds.
    """
    try:
        ended = subprocess.run(
            [*python("-c", program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{name} {' '.join(arguments)} took longer than {timeout:g} s") from error
    if ended.returncode not in good:
        raise CommandError([name, *arguments], ended.returncode, last_words(ended.stderr, ended.stdout))
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def flags(given: Mapping[str, object]) -> list[str]:
    """Keyword arguments as flags: `rate=5` is --rate 5, True a flag alone, a list one flag for each."""
    found: list[str] = []
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is False:
            continue
        if value is True:
            found.append(flag)
        elif isinstance(value, list | tuple):
            for item in value:
                found += [flag, str(item)]
        else:
            found += [flag, str(value)]
    return found
