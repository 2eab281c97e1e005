"""Programs that run another one as it stands: `env`, `numactl`, `timeout`, `tini`, ... by their own manuals.

An option that is not in the table cannot be told from the command behind it: the command is not guessed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.containers.expand.values import Unknown, Value
from gateway.errors import ScriptError

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Wrapper:
    """`flags` stand alone, `valued` options take the next word unless theirs is attached.

    `before` words stand between options and command; `assigns`: NAME=VALUE may, too. `all_valued`: every long
    option takes a value.
    """

    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    before: int = 0
    assigns: bool = False
    all_valued: bool = False


def _wrapper(
    flags: str = "", valued: str = "", before: int = 0, *, assigns: bool = False, all_valued: bool = False
) -> Wrapper:
    return Wrapper(frozenset(flags.split()), frozenset(valued.split()), before, assigns, all_valued)


_TABLE = {
    "env": _wrapper("- -i --ignore-environment -0 -v --debug", "-u --unset -C --chdir", assigns=True),
    "numactl": _wrapper(
        "-l --localalloc -a --all -b --balancing",
        "-N --cpunodebind -m --membind -C --physcpubind -i --interleave -p --preferred -P --preferred-many",
    ),
    "nohup": _wrapper(),
    "time": _wrapper("-p -v -a --portability --verbose --append -q --quiet", "-f --format -o --output"),
    "timeout": _wrapper(
        "-v --verbose -f --foreground -p --preserve-status", "-k --kill-after -s --signal", 1
    ),
    "nice": _wrapper("", "-n --adjustment"),
    "ionice": _wrapper("-t --ignore", "-c --class -n --classdata"),
    "stdbuf": _wrapper("", "-i --input -o --output -e --error"),
    "taskset": _wrapper("-c --cpu-list -a --all-tasks", "", 1),
    "chrt": _wrapper("-b -f -i -o -r --batch --fifo --idle --other --rr", "-T -P -D", 1),
    "setsid": _wrapper("-c --ctty -f --fork -w --wait"),
    "tini": _wrapper("-s -g -v -vv -vvv -w", "-p -e"),
    "tini-static": _wrapper("-s -g -v -vv -vvv -w", "-p -e"),
    "dumb-init": _wrapper("-c -v --single-child --verbose", "-r --rewrite"),
    "catatonit": _wrapper("-g"),
    "sudo": _wrapper("-E -H -n -S -b -k --preserve-env", "-u --user -g --group -p -C -h", assigns=True),
    "gosu": _wrapper(before=1),
    "su-exec": _wrapper(before=1),
    "unbuffer": _wrapper("-p"),
    "catchsegv": _wrapper(),
    "ddtrace-run": _wrapper("-d --debug"),
    "opentelemetry-instrument": _wrapper(all_valued=True),
    "uv run": _wrapper(
        "--frozen --locked --no-sync --isolated --no-project --active --quiet -q --offline",
        "--with --python -p --project --directory --extra --group --env-file",
    ),
    "conda run": _wrapper("--no-capture-output --live-stream -v", "-n --name -p --prefix --cwd"),
    "micromamba run": _wrapper("", "-n --name -p --prefix"),
    "poetry run": _wrapper(),
    "pipenv run": _wrapper(),
    "nsys profile": _wrapper("", "-b -c -d -e -f -g -h -k -n -o -p -s -t -w -x -y", all_valued=True),
}  # fmt: skip


@dataclass(frozen=True)
class Unwrapped:
    """The command behind a wrapper, and what the wrapper does to its environment."""

    words: list[Value]
    env: dict[str, Value]
    removed: frozenset[str] = frozenset()
    is_bare: bool = False  # nothing of the environment is handed on


def unwrap(words: Sequence[Value], line: int) -> Unwrapped | None:
    """What `words` run where their program is a wrapper, else None.

    Raises ScriptError for an option whose arguments are not known.
    """
    name, rest = _named(words)
    wrapper = _TABLE.get(name)
    if wrapper is None:
        return None
    env: dict[str, Value] = {}
    removed: set[str] = set()
    is_bare = False
    while rest:
        word = rest[0]
        if wrapper.assigns and (assigned := _assigned(word)):
            env |= assigned
            rest = rest[1:]
            continue
        if not isinstance(word, str):
            if not wrapper.before:
                break
            raise ScriptError(f"{name}: {word}", line)
        if word == "--":
            rest = rest[1:]
            if not wrapper.assigns:
                break
            continue
        if not word.startswith("-"):
            break
        if name == "env" and re.match(r"-S|--split-string", word):
            raise ScriptError(f"env {word} is not read; write the words apart", line)
        taken, value = _option(wrapper, name, rest, line)
        if name == "env":
            removed |= {value} if value and word.startswith(("-u", "--unset")) else set()
            is_bare |= word in {"-", "-i", "--ignore-environment"}
        rest = rest[taken:]
    return Unwrapped(rest[wrapper.before :], env, frozenset(removed), is_bare)


def _named(words: Sequence[Value]) -> tuple[str, list[Value]]:
    """The program's name, or two words as in `uv run`, and what stands behind it."""
    name = posixpath.basename(words[0]) if words and isinstance(words[0], str) else ""
    rest = list(words[1:])
    if name not in _TABLE and rest and isinstance(rest[0], str):
        return f"{name} {rest[0]}", rest[1:]
    return name, rest


def _assigned(word: Value) -> dict[str, Value]:
    """NAME=VALUE; empty for another word."""
    if isinstance(word, str):
        found = _ASSIGNMENT.fullmatch(word)
        return {found[1]: found[2]} if found else {}
    found = _ASSIGNMENT.fullmatch(word.source)
    return {found[1]: word} if found else {}


def _option(wrapper: Wrapper, name: str, words: Sequence[Value], line: int) -> tuple[int, str]:
    """How many words the option takes that comes first, and its value."""
    word = str(words[0])
    stem, equals, attached = word.partition("=")
    if word in wrapper.flags or (name == "nice" and re.fullmatch(r"-\d+", word)):
        return 1, ""
    if equals and stem.startswith("--"):
        return 1, attached
    if word in wrapper.valued or (wrapper.all_valued and word.startswith("--")):
        value = words[1] if len(words) > 1 else ""
        return 2, "" if isinstance(value, Unknown) else value
    if word[:2] in wrapper.valued and not word.startswith("--"):
        return 1, word[2:]
    if all(f"-{c}" in wrapper.flags for c in word[1:]):
        return 1, ""
    raise ScriptError(f"{name}: the option {word} is not known, and so neither what it runs", line)
