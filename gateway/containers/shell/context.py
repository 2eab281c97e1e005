"""Where commands of a script run: variables, standard input and output, and the way they belong to."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.containers.expand.conditions import Truth
from gateway.containers.expand.expansion import Expander, absolute
from gateway.containers.expand.values import Input, State, Status, Unknown, Value, joined
from gateway.containers.grammar.syntax import CommandSub
from gateway.containers.shell.run import Run

_MOST = 1024 * 1024  # characters of what a command writes


class Output:
    """What commands write to standard output."""

    def __init__(self) -> None:
        self._parts: list[Value] = []
        self._size = 0

    def write(self, value: Value) -> None:
        self._size += len(value) if isinstance(value, str) else 0
        self._parts.append(value if self._size <= _MOST else Unknown("output of more than a megabyte", 0))

    def text(self) -> Value:
        return joined(self._parts)


class Context:
    """One shell on its way; `capture` is the shell's own."""

    def __init__(self, state: State, run: Run) -> None:
        self.state = state
        self.run = run
        self.expander = Expander(state, self.capture)
        self.expander.unset = run.unset
        self.input = Input("")
        self.output = Output()

    def capture(self, part: CommandSub) -> Value:
        """The output of a command substitution."""
        raise NotImplementedError

    def exists(self, letter: str, path: str) -> Truth:
        return self.run.file_test(letter, absolute(path, self.state.directory), 0)

    def status(self, truth: Truth) -> Status:
        return truth if isinstance(truth, Unknown) else 0 if truth else 1

    def outcome(self, status: Status) -> bool:
        """Whether a command succeeded; decided for this way where it is not known."""
        if isinstance(status, Unknown):
            succeeded = self.run.decide(status)
            self.state.status = 0 if succeeded else 1
            return succeeded
        return status == 0


def texts(values: Iterable[Value]) -> list[str] | Unknown:
    """All of them as texts, or the first that is not known."""
    found = []
    for value in values:
        if isinstance(value, Unknown):
            return value
        found.append(value)
    return found
