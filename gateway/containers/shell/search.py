"""All ways through a script: the one server that it starts, or why that cannot be said.

Where a condition is not known, both outcomes are followed. A way on which no server starts is one on which
the container fails or waits, and says nothing; ways that start different servers are an error naming both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.containers.expand.parameters import Ended
from gateway.containers.expand.values import State, Unknown, Value, Variable
from gateway.containers.shell.context import Left, Returned
from gateway.containers.shell.interpreter import Shell
from gateway.containers.shell.run import Found, Run, Start, World
from gateway.errors import ScriptError

_MOST_WAYS = 400  # through one script; people's have a handful


@dataclass
class Search:
    """What all ways through a script have in common."""

    world: World
    same: Callable[[Start], Hashable]  # servers that are alike are one
    start: Start | None = None
    run: Run | None = None
    ends: list[str] = field(default_factory=list)

    def take(self, words: Sequence[Value], env: Mapping[str, Value]) -> Start:
        """The server that `words` start in an environment.

        Raises ScriptError where there is none, where it cannot be known, and where ways differ.
        """
        given: list[bool] = []
        steps = 0
        for _ in range(_MOST_WAYS):
            try:
                run = self._way(words, env, given, steps)
            except RecursionError:
                raise ScriptError("the script is nested too deeply to be followed") from None
            steps = run.steps
            if run.starts:
                self._compare(run)
            given = list(run.decisions[: len(run.asked)])
            while given and not given[-1]:
                given.pop()
            if not given:
                break
            given[-1] = False
        else:
            raise ScriptError(
                f"more than {_MOST_WAYS} ways lead through the script, by conditions that are unknown"
            )
        if self.start is None:
            raise ScriptError("; ".join(["no server command found", *self._why()]))
        return self.start

    def _way(self, words: Sequence[Value], env: Mapping[str, Value], given: list[bool], steps: int) -> Run:
        run = Run(self.world, list(given), steps=steps)
        state = State({n: Variable(v, True) for n, v in env.items()}, "sh", [])
        try:
            Shell(state, run).program(list(words))
        except Found:
            pass
        except Ended as ended:
            run.ended.append(f"line {ended.line}: {ended.why}")
        except (Left, Returned):
            pass
        for text in (
            *run.ended,
            *run.unread,
            *(["it runs " + ", ".join(f"`{r}`" for r in run.ran[:5])] if run.ran else []),
        ):
            if not run.starts and text not in self.ends:
                self.ends.append(text)
        return run

    def _compare(self, run: Run) -> None:
        start = run.starts[-1]
        if self.start is None or self.run is None:
            self.start, self.run = start, run
        elif self.same(start) != self.same(self.start):
            cause = run.asked[-1] if run.asked else Unknown("something", start.line)
            raise ScriptError(
                f"the server of line {self.start.line} or that of line {start.line}: {cause}", start.line
            )

    def _why(self) -> list[str]:
        return self.ends[:4]
