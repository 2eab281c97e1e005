"""What is known of a text: the text, or why it cannot be known without running the script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.containers.grammar.syntax import Command


@dataclass(frozen=True, slots=True)
class Unknown:
    """A text, status or number that only the running container would know; `line` of the script."""

    why: str
    line: int
    source: str = ""  # the word as written, where it is one

    def __str__(self) -> str:
        return f"{self.why} (line {self.line}) cannot be known without running it"


Value = str | Unknown
Array = dict[int, Value]
Status = int | Unknown


def joined(values: Iterable[Value], between: str = "") -> Value:
    """All of them as one; unknown where one of them is."""
    texts = []
    for value in values:
        if isinstance(value, Unknown):
            return value
        texts.append(value)
    return between.join(texts)


@dataclass(slots=True)
class Variable:
    """A shell variable; an array by index."""

    value: Value | Array
    is_exported: bool = False
    is_integer: bool = False


class Input:
    """Standard input of a command: text that is read line by line, or unknown."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def all(self) -> Value:
        value, self.value = self.value, "" if isinstance(self.value, str) else self.value
        return value

    def line(self) -> Value | None:
        """The next line without its newline, None at the end."""
        if isinstance(self.value, Unknown):
            return self.value
        if not self.value:
            return None
        line, _, self.value = self.value.partition("\n")
        return line


# Variables that images set: without a value in the manifests theirs is not known.
_OF_IMAGE = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LC_ALL",
        "PWD",
        "OLDPWD",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "CUDA_HOME",
        "CUDA_VERSION",
        "NVIDIA_VISIBLE_DEVICES",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
    ]
)
# Variables of the shell itself whose values nobody knows beforehand.
_OF_SHELL = frozenset(
    [
        "RANDOM",
        "SRANDOM",
        "SECONDS",
        "EPOCHSECONDS",
        "EPOCHREALTIME",
        "BASHPID",
        "PPID",
        "UID",
        "EUID",
        "GROUPS",
        "BASH_VERSION",
        "BASH_VERSINFO",
        "BASH",
        "BASH_SOURCE",
        "BASH_COMMAND",
        "LINENO",
        "FUNCNAME",
        "PIPESTATUS",
        "HOSTTYPE",
        "MACHTYPE",
        "OSTYPE",
        "SHLVL",
        "_",
    ]
)


class State:
    """Variables, parameters and options of one shell; a subshell has a copy, files are of all."""

    def __init__(self, variables: dict[str, Variable], name: str, positional: list[Value]) -> None:
        self.variables = variables
        self.name = name
        self.positional = positional
        self.functions: dict[str, Command] = {}
        self.exports: set[str] = set()  # names that are exported as soon as they are set
        self.options: set[str] = set()
        self.status: Status = 0
        self.directory: str | None = None
        self.scopes: list[dict[str, Variable | None]] = []  # what the functions that run made local
        self.unset: Unknown | None = (
            None  # why a variable that was not set might be: an unknown file was read
        )

    def copy(self) -> State:
        """The state of a subshell."""
        variables = {
            n: Variable(dict(v.value) if isinstance(v.value, dict) else v.value, v.is_exported, v.is_integer)
            for n, v in self.variables.items()
        }
        other = State(variables, self.name, list(self.positional))
        other.functions = dict(self.functions)
        other.exports = set(self.exports)
        other.options = set(self.options)
        other.status, other.directory, other.unset = self.status, self.directory, self.unset
        other.scopes = [dict(s) for s in self.scopes]
        return other

    def get(self, name: str, line: int) -> Value | Array | None:
        """The value of a variable, None for one that is not set."""
        if (variable := self.variables.get(name)) is not None:
            return variable.value
        if name in _OF_SHELL or name in _OF_IMAGE or name.endswith(("_SERVICE_HOST", "_SERVICE_PORT")):
            return Unknown(f"${name}, which the image or the cluster sets,", line)
        return self.unset

    def set(self, name: str, value: Value | Array, *, exported: bool = False) -> None:
        known = self.variables.get(name)
        is_exported = exported or name in self.exports or "a" in self.options
        is_exported |= known is not None and known.is_exported
        self.variables[name] = Variable(value, is_exported, known is not None and known.is_integer)

    def make_local(self, name: str) -> None:
        """From here on `name` is the function's; what it was comes back at its end."""
        if self.scopes and name not in self.scopes[-1]:
            known = self.variables.get(name)
            self.scopes[-1][name] = known
            if known is not None:
                self.variables[name] = Variable(known.value, known.is_exported, known.is_integer)

    def leave(self) -> None:
        """The end of a function: its local variables go."""
        for name, before in self.scopes.pop().items():
            if before is None:
                self.variables.pop(name, None)
            else:
                self.variables[name] = before

    def exported(self) -> dict[str, Value]:
        """The environment of a command."""
        return {
            n: v.value for n, v in self.variables.items() if v.is_exported and not isinstance(v.value, dict)
        }
