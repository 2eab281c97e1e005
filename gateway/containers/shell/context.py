"""Where commands of a script run: variables, standard input and output, and the way they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from gateway.containers.expand.conditions import Truth
from gateway.containers.expand.expansion import Expander, absolute
from gateway.containers.expand.values import Input, State, Status, Unknown, Value, joined
from gateway.containers.grammar.syntax import CommandSub, Redirect, Word
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


class Left(Exception):  # noqa: N818 - the ways of a script, no faults
    """`break` and `continue`, of that many loops."""

    def __init__(self, levels: int, *, goes_on: bool) -> None:
        self.levels = levels
        self.goes_on = goes_on
        super().__init__()


class Returned(Exception):  # noqa: N818
    """`return`: the status stands in the state."""


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

    # redirections

    @contextmanager
    def redirected(self, redirects: Sequence[Redirect]) -> Iterator[None]:
        """Standard input and output as the redirections have them; files are written at the end."""
        if not redirects:
            yield
            return
        before = self.input, self.output
        writes: list[tuple[str, Output, bool]] = []
        for redirect in redirects:
            self._redirect(redirect, writes)
        try:
            yield
        finally:
            self.input, self.output = before
            for path, output, appends in writes:
                old = self.run.content(path) if appends else ""
                old = Unknown(f"what {path} of the image holds", 0) if old is None else old
                text = joined([old, output.text()])
                known = not isinstance(text, str) or len(text) <= _MOST
                self.run.files[path] = text if known else Unknown(f"{path}, more than a megabyte,", 0)

    def _redirect(self, redirect: Redirect, writes: list[tuple[str, Output, bool]]) -> None:
        if not isinstance(redirect.target, Word):
            self.input = Input(self.expander.value(redirect.target.word))
            return
        target = self.expander.value(redirect.target)
        if redirect.op == "<<<":
            self.input = Input(joined([target, "\n"]))
        elif redirect.op == "<":
            self.input = Input(self.file(target, redirect.target.line))
        elif redirect.op == ">&" and target in ("1", "2", "-"):
            if redirect.fd in (None, 1) and target != "1":
                self.output = Output()
        elif redirect.op in {">", ">>", ">|", "&>", "&>>", ">&"} and redirect.fd in (None, 1):
            if target in ("/dev/stdout", "/proc/1/fd/1", "/dev/fd/1"):
                return
            self.output = Output()
            if isinstance(target, str) and not target.startswith("/dev/"):
                path = absolute(target, self.state.directory)
                writes.append((path, self.output, redirect.op.endswith(">>")))

    def file(self, path: Value, line: int) -> Value:
        if isinstance(path, Unknown):
            return path
        content = self.run.content(absolute(path, self.state.directory))
        return Unknown(f"what {path}, a file of the image, holds", line) if content is None else content


def short(text: str) -> str:
    """A command on one line, for messages."""
    words = " ".join(text.replace("\\\n", " ").split())
    return words if len(words) <= 60 else f"{words[:57]}..."


def texts(values: Iterable[Value]) -> list[str] | Unknown:
    """All of them as texts, or the first that is not known."""
    found = []
    for value in values:
        if isinstance(value, Unknown):
            return value
        found.append(value)
    return found
