"""The arguments of a shell: `bash -eo pipefail -c SCRIPT NAME ARGS`, `bash FILE ARGS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.containers.expand.values import Unknown, Value
from gateway.errors import ScriptError

_LETTERS = frozenset("abcefhiklmnoprstuvxBCDEHOPT")
_LONG = frozenset({"--login", "--noprofile", "--norc", "--posix", "--noediting", "--restricted", "--verbose"})
_LONG_OPTIONS = {"errexit": "e", "nounset": "u", "noglob": "f", "allexport": "a", "pipefail": "pipefail"}


@dataclass(frozen=True)
class ShellCall:
    """`script` where there is a -c, `file` where one is named, neither: it reads standard input."""

    script: Value | None
    file: str | None
    name: Value  # $0
    args: tuple[Value, ...]
    options: frozenset[str]


def shell_call(words: Sequence[Value], line: int) -> ShellCall:
    """What a shell is asked to run; a ScriptError for options that shells do not have."""
    options, rest = _options(list(words[1:]), line)
    is_command, is_input = "c" in options, "s" in options
    if is_command:
        if not rest:
            raise ScriptError("a shell with -c has no script behind it", line)
        if isinstance(rest[0], Unknown):
            raise ScriptError(f"runs a script that is not known: {rest[0]}", line)
        return ShellCall(
            rest[0], None, rest[1] if len(rest) > 1 else words[0], tuple(rest[2:]), frozenset(options)
        )
    if rest and not is_input:
        file = rest[0]
        if isinstance(file, Unknown):
            raise ScriptError(f"runs a file that is not known: {file}", line)
        return ShellCall(None, file, file, tuple(rest[1:]), frozenset(options))
    return ShellCall(None, None, words[0], tuple(rest), frozenset(options))


def _options(words: list[Value], line: int) -> tuple[set[str], list[Value]]:
    """The options that are on, and what stands behind them."""
    options: set[str] = set()
    rest = words
    while rest and (word := rest[0]) and isinstance(word, str) and word[0] in "-+" and len(word) > 1:
        rest = rest[1:]
        if word == "--":
            break
        if word in _LONG:
            continue
        if not _LETTERS.issuperset(word[1:]):
            raise ScriptError(f"a shell has no option {word}", line)
        for letter in word[1:]:
            name = rest.pop(0) if letter in "oO" and rest else ""
            option = _LONG_OPTIONS.get(name, "") if letter == "o" and isinstance(name, str) else letter
            if word[0] == "-":
                options.add(option)
    return options, rest
