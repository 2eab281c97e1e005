"""What a scenario does to the fleet in mid-run, done to the pods of a simulation.

Understood are `run:` commands that are one `simfleet kill|restart|drain|scale`. Where such a command looks
the pod up (`$(simfleet ps --format json | ...)`), the pod is the one whose index stands in the expression.
Nothing is ever run in a shell: a command that would act on a real fleet has no business in a simulation. What
is not understood is told, and stands in the run's events as failed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import ControlError
from gateway.simulate.replicas.pods import DRAIN_S, Fleet
from loadgen.records.rundir import EventLine
from simulator.replay.world import World

_LOOKED_UP = re.compile(
    r"""["']?\$\(simfleet ps [^$]*?\[["']pods["']\]\[(\d+)\]\[["']name["']\][^$]*?\)["']?(?=\s|$)"""
)
_PLACE = "pods-by-index-"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is to happen `at` seconds after the start."""

    at: float
    name: str
    run: str


@dataclass(slots=True)
class Timeline:
    """The events of a run; `note` takes what was done, `failures` what was not and why."""

    fleet: Fleet
    note: Callable[[EventLine], None]
    failures: list[str] = field(default_factory=list)

    def start(self, world: World, events: list[Event], t0: float) -> None:
        for event in events:
            world.at(t0 + event.at, self._do, event)

    def _do(self, event: Event) -> None:
        line = EventLine(t=event.at, name=event.name, did=event.run, took=0.0, exit=0)
        try:
            line.output = self._done(event.run)
        except ControlError as error:
            line.exit, line.output = 1, str(error)
            self.failures.append(f"event {event.name!r} was not simulated: {error}")
        self.note(line)

    def _done(self, command: str) -> str:
        command = _LOOKED_UP.sub(lambda match: _PLACE + match[1], command)
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ControlError(f"the command cannot be read: {error}") from error
        if any(mark in command for mark in ("$", "`", "|", ";", "&", ">", "<")) or words[:1] != ["simfleet"]:
            raise ControlError(
                "only one `simfleet kill|restart|drain|scale` is simulated; this command is not run"
            )
        verb, *rest = [*words[1:], ""]
        names, options = _options(rest)
        act = {"kill": self._kill, "restart": self._restart, "drain": self._drain, "scale": self._scale}.get(
            verb
        )
        if act is None or not names:
            raise ControlError(f"simfleet {verb or '(nothing)'} is not simulated")
        return act(names, options)

    def _pod(self, names: list[str]) -> str:
        name = names[0]
        if not name.startswith(_PLACE):
            return name
        pods, index = [pod.name for pod in self.fleet], int(name.removeprefix(_PLACE))
        if index >= len(pods):
            raise ControlError(f"there is no pod {index}; there are {len(pods)}")
        return pods[index]

    def _kill(self, names: list[str], options: dict[str, str]) -> str:
        _known(options, "name", "stack")
        return self.fleet.kill(self._pod(names))

    def _restart(self, names: list[str], options: dict[str, str]) -> str:
        _known(options, "name")
        return self.fleet.restart(self._pod(names))

    def _drain(self, names: list[str], options: dict[str, str]) -> str:
        _known(options, "name", "grace")
        return self.fleet.drain(self._pod(names), float(options.get("grace", DRAIN_S)))

    def _scale(self, names: list[str], options: dict[str, str]) -> str:
        _known(options, "name")
        if len(names) < 2 or not names[1].isdigit():
            raise ControlError("simfleet scale needs a pool and a number of replicas")
        return self.fleet.scale(names[0], int(names[1]))


def _options(words: list[str]) -> tuple[list[str], dict[str, str]]:
    names: list[str] = []
    options: dict[str, str] = {}
    rest = [word for word in words if word]
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            names.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        options[name] = value if equals else rest.pop(0) if rest else ""
    return names, options


def _known(options: dict[str, str], *names: str) -> None:
    for name in options:
        if name not in names:
            raise ControlError(f"--{name} is not simulated")
