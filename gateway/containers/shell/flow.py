"""Lists, pipelines, conditions and loops of a script, followed where it is known which way they go.

A condition that is not known is decided by the way (run.py); search.py takes all ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from gateway.containers.expand.conditions import BadTestError, Tester
from gateway.containers.expand.parameters import Ended
from gateway.containers.expand.patterns import matches
from gateway.containers.expand.values import Input, State, Status, Unknown, Value
from gateway.containers.grammar.syntax import (
    AndOr,
    ArithmeticFor,
    Block,
    Case,
    Command,
    Condition,
    For,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Reckoning,
    Simple,
    Word,
)
from gateway.containers.shell.context import Context, Left, Output, Returned, short
from gateway.containers.shell.effects import effects
from gateway.containers.shell.run import Found, Run
from gateway.errors import BadArithmeticError, ScriptError

_DEEPEST = 40  # functions and scripts within each other


class Flow(Context):
    """Lists and compound commands of one shell. Raises ScriptError for what cannot be followed."""

    def __init__(self, state: State, run: Run, depth: int = 0) -> None:
        super().__init__(state, run)
        self.depth = depth
        self.tested = 0  # conditions around the command: `set -e` does not end the script there

    def simple(self, command: Simple) -> None:
        """A simple command; the shell's."""
        raise NotImplementedError

    @contextmanager
    def contained(self) -> Iterator[None]:
        """The whole of a shell: its end is not the end of the one around it."""
        try:
            yield
        except Ended as ended:
            self.run.ended.append(f"line {ended.line}: {ended.why}")
            if ended.status < 0:  # it waits for ever, and so does whoever waits for it
                raise
            self.state.status = ended.status
        except (Returned, Left):
            pass

    def block(self, block: Block) -> None:
        for item in block:
            self._item(item)

    def _item(self, item: AndOr) -> None:
        if item.is_background:
            self._background(item)
        else:
            self.and_or(item)

    def _background(self, item: AndOr) -> None:
        shell = self.subshell()
        shell.input = Input("")
        with suppress(Found, Ended, Returned, Left):
            shell.and_or(item)
        self.state.status = 0

    def subshell(self) -> Self:
        """A shell with a copy of the state; what it writes and reads is the same."""
        shell = type(self)(self.state.copy(), self.run, self.depth + 1)
        if self.depth > _DEEPEST:
            raise ScriptError("calls itself without an end")
        shell.input, shell.output, shell.tested = self.input, self.output, self.tested
        return shell

    def and_or(self, item: AndOr) -> None:
        if not item.rest:
            self._pipeline(item.first)
            return
        with self._tests():
            self._pipeline(item.first)
        for i, (op, pipeline) in enumerate(item.rest):
            status = self.state.status
            if isinstance(status, Unknown) and self._is_inert((AndOr(pipeline, (), False),)):
                continue
            if self.outcome(status) != (op == "&&"):
                continue
            if i == len(item.rest) - 1:
                self._pipeline(pipeline)
            else:
                with self._tests():
                    self._pipeline(pipeline)

    @contextmanager
    def _tests(self) -> Iterator[None]:
        self.tested += 1
        try:
            yield
        finally:
            self.tested -= 1

    def _is_inert(self, *blocks: Block | None) -> bool:
        return all(effects(b, self.state.functions).is_inert for b in blocks if b)

    def _pipeline(self, pipeline: Pipeline) -> None:
        if pipeline.is_negated:
            with self._tests():
                self._commands(pipeline)
            status = self.state.status
            self.state.status = status if isinstance(status, Unknown) else int(status == 0)
            if isinstance(status, Unknown):
                self.state.status = 0 if not self.run.decide(status) else 1
            return
        self._commands(pipeline)
        self._check(pipeline)

    def _check(self, pipeline: Pipeline) -> None:
        status = self.state.status
        if "e" in self.state.options and not self.tested and not isinstance(status, Unknown) and status:
            raise Ended(
                f"`{short(pipeline.source)}` fails, and `set -e` ends the script", pipeline.line, status
            )

    def _commands(self, pipeline: Pipeline) -> None:
        if len(pipeline.commands) == 1:
            self.command(pipeline.commands[0])
            return
        statuses: list[Status] = []
        source, output = self.input, self.output
        found = False
        for i, command in enumerate(pipeline.commands):
            shell = self.subshell()
            shell.input = source
            is_last = i == len(pipeline.commands) - 1
            shell.output = output if is_last else Output()
            try:
                with shell.contained():
                    shell.command(command)
            except Found:
                found = True
            statuses.append(shell.state.status)
            if not is_last:
                source = Input(shell.output.text())
        if found:
            raise Found
        self.state.status = self._of_pipe(statuses)

    def _of_pipe(self, statuses: list[Status]) -> Status:
        if "pipefail" not in self.state.options:
            return statuses[-1]
        failed = [s for s in statuses if not isinstance(s, Unknown) and s]
        if failed:
            return failed[-1]
        return next((s for s in statuses if isinstance(s, Unknown)), 0)

    def command(self, command: Command) -> None:
        self.run.step(command.line)
        if isinstance(command, Simple):
            self.simple(command)
        elif isinstance(command, Function):
            self.state.functions[command.name] = command.body
            self.state.status = 0
        else:
            with self.redirected(command.redirects):
                self._compound(command)

    def _compound(self, command: Command) -> None:
        if isinstance(command, Group):
            self._group(command)
        elif isinstance(command, If):
            self._if(command)
        elif isinstance(command, Loop):
            self._loop(command)
        elif isinstance(command, For):
            self._for(command)
        elif isinstance(command, ArithmeticFor):
            self._arithmetic_for(command)
        elif isinstance(command, Case):
            self._case(command)
        elif isinstance(command, Condition):
            try:
                truth = Tester(self.expander, self.exists, command.line).condition(command.test)
            except (BadTestError, BadArithmeticError):
                truth = False
            self.state.status = self.status(
                Unknown(truth.why, command.line) if isinstance(truth, Unknown) else truth
            )
        elif isinstance(command, Reckoning):
            try:
                number = self.expander.number(command.text, command.line)
            except BadArithmeticError:
                number = 0
            self.state.status = number if isinstance(number, Unknown) else int(number == 0)

    def _group(self, group: Group) -> None:
        if not group.is_subshell:
            self.block(group.body)
            return
        shell = self.subshell()
        with shell.contained():
            shell.block(group.body)
        self.state.status = shell.state.status

    def _if(self, command: If) -> None:
        bodies = [part for branch in command.branches for part in branch]
        for i, (condition, body) in enumerate(command.branches):
            with self._tests():
                self.block(condition)
            status = self.state.status
            if isinstance(status, Unknown) and self._is_inert(*bodies[2 * i + 1 :], command.otherwise):
                return
            if self.outcome(status):
                self.state.status = 0
                self.block(body)
                return
        self.state.status = 0
        if command.otherwise is not None:
            self.block(command.otherwise)

    def _loop(self, loop: Loop) -> None:
        """`while` and `until`; what is not known is followed once from any state in which it may be."""
        rounds = 0
        while True:
            self.run.step(loop.line)
            asked = len(self.run.asked)
            with self._tests():
                self.block(loop.condition)
            status = self.state.status
            if isinstance(status, Unknown):
                if self._is_inert(loop.condition, loop.body):
                    self.state.status = 0
                    return
                self._forget(loop.condition, loop.body)
            elif (status == 0) != loop.is_until and self._is_inert(loop.condition, loop.body):
                raise Ended("a loop goes on for ever", loop.line, -1)
            if self.outcome(status) == loop.is_until or rounds > 1:
                self.state.status = 0
                return
            if self._round(loop.body):
                return
            if len(self.run.asked) > asked:
                self._forget(loop.condition, loop.body)
                rounds += 1
                if rounds > 1 and not isinstance(status, Unknown):
                    raise Ended("a loop whose end is not known", loop.line, -1)

    def _round(self, body: Block) -> bool:
        """One round of a loop; whether it was left."""
        try:
            self.block(body)
        except Left as left:
            if left.levels > 1:
                raise Left(left.levels - 1, goes_on=left.goes_on) from None
            return not left.goes_on
        return False

    def _forget(self, *blocks: Block) -> None:
        """What the blocks may assign is not known any more."""
        for block in blocks:
            found = effects(block, self.state.functions)
            names = set(self.state.variables) if found.everything else found.names
            for name in names:
                self.state.set(name, Unknown(f"${name} after rounds of a loop whose number is not known", 0))

    def _for(self, loop: For) -> None:
        words = self.state.positional if loop.words is None else self.expander.fields(loop.words)
        unknown = next((w for w in words if isinstance(w, Unknown)), None)
        if unknown is not None:
            if self._is_inert(loop.body):
                return
            self._forget(loop.body)
            words = [Unknown(unknown.why, unknown.line)] if self.run.decide(unknown) else []
        self.state.status = 0
        for word in list(words):
            self.run.step(loop.line)
            self.state.set(loop.name, word)
            if self._round(loop.body):
                break
        if unknown is not None:
            self._forget(loop.body)

    def _arithmetic_for(self, loop: ArithmeticFor) -> None:
        self.expander.number(loop.begin, loop.line)
        while True:
            self.run.step(loop.line)
            truth = self.expander.number(loop.condition, loop.line) if loop.condition.source.strip() else 1
            if isinstance(truth, Unknown):
                raise ScriptError(f"a loop goes on while {truth}", loop.line)
            if not truth:
                break
            if self._round(loop.body):
                break
            self.expander.number(loop.step, loop.line)

    def _case(self, case: Case) -> None:
        value = self.expander.value(case.word)
        self.state.status = 0
        falls = False
        for clause in case.clauses:
            if not falls and not self._takes(clause.patterns, value, case):
                continue
            self.block(clause.body)
            falls = clause.end == ";&"
            if clause.end == ";;":
                return

    def _takes(self, patterns: Sequence[Word], value: Value, case: Case) -> bool:
        for pattern in patterns:
            tokens = self.expander.tokens(pattern)
            if tokens == [("*", False)]:
                return True
            unknown = next((v for v in (value, tokens) if isinstance(v, Unknown)), None)
            if unknown is not None:
                if self.run.decide(Unknown(unknown.why, case.line)):
                    return True
            elif matches(tokens, str(value)):  # type: ignore[arg-type]
                return True
        return False
