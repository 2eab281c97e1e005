"""One way through a script: what has been decided on it, what it has written, what of it was not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.containers.expand.conditions import Truth
from gateway.containers.expand.values import Unknown, Value
from gateway.errors import ScriptError

_MOST_STEPS = 5_000  # commands that are followed on all ways together; people's have some dozens
_MOST_DECISIONS = 40  # conditions on one way whose outcome is not known


@dataclass(frozen=True)
class Start:
    """A server as the script starts it; `words` begin with its program."""

    words: tuple[Value, ...]
    env: Mapping[str, Value]
    line: int
    source: str


@dataclass(frozen=True)
class World:
    """What a script finds in its container. `is_server` sees the words of a command."""

    is_server: Callable[[list[Value]], bool]
    read: Callable[[str], str | None] = lambda _: None  # a file by its path, None for one nobody has here
    exists: Callable[[str, str], Truth | None] = lambda _letter, _path: None
    hostname: str = "localhost"
    address: str = "127.0.0.1"
    vllm_version: str = "0.33.0"


class Found(Exception):  # noqa: N818 - what was looked for
    """A server runs in the foreground: what stands behind it waits for its end."""


@dataclass
class Run:
    """Raises ScriptError where a way becomes too long to be followed."""

    world: World
    decisions: list[bool] = field(default_factory=list)  # given ones, then those that were taken
    asked: list[Unknown] = field(default_factory=list)
    files: dict[str, Value] = field(default_factory=dict)  # written by the script
    starts: list[Start] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # where shells ended, and why
    unread: list[str] = field(default_factory=list)  # what was not read or is answered otherwise, in words
    ran: list[str] = field(default_factory=list)  # programs that are no servers
    unset: dict[str, int] = field(default_factory=dict)
    steps: int = 0

    def step(self, line: int) -> None:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise ScriptError("the script goes on for longer than it can be followed", line)

    def decide(self, unknown: Unknown) -> bool:
        """One outcome of a condition that is not known; the other ways take the other."""
        self.asked.append(unknown)
        if len(self.asked) > _MOST_DECISIONS:
            raise ScriptError(
                f"too many conditions of the script are unknown; the last: {unknown}", unknown.line
            )
        if len(self.asked) > len(self.decisions):
            self.decisions.append(True)
        return self.decisions[len(self.asked) - 1]

    def content(self, path: str) -> Value | None:
        """What a file holds: one that the script wrote, or one that is mounted."""
        return self.files[path] if path in self.files else self.world.read(path)

    def file_test(self, letter: str, path: str, line: int) -> Truth:
        if path in self.files:
            return letter not in "bcdghkpuLS" if letter != "s" else bool(self.files[path])
        known = self.world.exists(letter, path)
        return Unknown(f"whether the image has {path}", line) if known is None else known

    def start(self, start: Start) -> None:
        """Take in that a server starts; a second one is an error."""
        if self.starts and self.starts[-1].line != start.line:
            first = self.starts[-1]
            raise ScriptError(
                f"starts a second server (`{_short(start.source)}`) beside that of line {first.line}; "
                "a pod here is one server: split them into two containers",
                start.line,
            )
        self.starts.append(start)


def _short(text: str) -> str:
    words = " ".join(text.replace("\\\n", " ").split())
    return words if len(words) <= 60 else f"{words[:57]}..."
