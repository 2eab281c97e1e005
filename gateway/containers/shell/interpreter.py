"""Simple commands: assignments, functions, and the builtins that change where the script goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gateway.containers.expand.expansion import absolute
from gateway.containers.expand.parameters import Ended
from gateway.containers.expand.values import Array, Unknown, Value, joined
from gateway.containers.grammar.parser import parse
from gateway.containers.grammar.simple import DECLARING
from gateway.containers.grammar.syntax import Assignment, Command, Simple, Word
from gateway.containers.shell.builtins import run_builtin
from gateway.containers.shell.context import Left, Returned, short
from gateway.containers.shell.programs import Programs
from gateway.containers.shell.run import Found
from gateway.errors import ScriptError

_ACTIVATES = re.compile(r"(/bin/activate|/etc/profile|conda\.sh|\.bashrc|/setup\.sh)$")  # they set paths
_WORDY = re.compile(r"[A-Za-z_]\w*(\+?)=.*", re.DOTALL)
_DEEPEST = 40  # functions within each other


class Shell(Programs):
    """One shell or subshell. Raises ScriptError for what cannot be followed."""

    # simple commands

    def simple(self, command: Simple) -> None:
        words = self._words(command)
        with self.redirected(command.redirects):
            if not words:
                self.state.status = 0
                for assignment in command.assignments:
                    self._assign(assignment)
                return
            name = words[0]
            if isinstance(name, str) and name in DECLARING:
                self._program(words, {}, command.line, command.source)
                for assignment in command.assignments:
                    self._assign(assignment)
                return
            env = {a.name: self._assigned(a) for a in command.assignments}
            known = {n: v for n, v in env.items() if not isinstance(v, dict)}
            before = len(self.run.starts)
            try:
                self._program(words, known, command.line, command.source)
            finally:
                if len(self.run.starts) > before:
                    self._check_input(command)

    def _check_input(self, command: Simple) -> None:
        """A server's input must be there: `--model <name>` of a template asks bash for a file `name`."""
        for redirect in command.redirects:
            if redirect.op != "<" or not isinstance(redirect.target, Word):
                continue
            path = self.expander.value(redirect.target)
            if isinstance(path, Unknown) or path.startswith(("/dev/", "/proc/")):
                continue
            if self.run.content(absolute(path, self.state.directory)) is None:
                text = f"bash does not start the server: it reads `<{path}`, and no manifest has that file"
                raise ScriptError(f"{text} (a place-holder to be filled in?)", command.line)

    def _words(self, command: Simple) -> list[Value]:
        """The fields of a command; NAME=VALUE of a declaration is not split."""
        words = command.words
        if not words or words[0].plain not in DECLARING:
            return self.expander.fields(words)
        found = self.expander.fields(words[:1])
        for word in words[1:]:
            if _WORDY.fullmatch(word.source):
                found.append(self._declared(word))
            else:
                found += self.expander.fields([word])
        return found

    def _declared(self, word: Word) -> Value:
        """A NAME=VALUE whose value may be unknown: it is set, and the declaration sees the name."""
        value = self.expander.value(word)
        if isinstance(value, str):
            return value
        name = word.source.partition("=")[0].rstrip("+")
        if self.state.scopes:
            self.state.make_local(name)
        self.state.set(name, value)
        return name

    def _assign(self, assignment: Assignment) -> None:
        if assignment.index is None:
            self.state.set(assignment.name, self._assigned(assignment))
            return
        index = self.expander.number(assignment.index, assignment.index.line)
        value = Assignment(assignment.name, assignment.value)
        before = self.state.get(assignment.name, 0)
        if isinstance(index, Unknown):
            self.state.set(assignment.name, index)
            return
        items: Array = dict(before) if isinstance(before, dict) else {} if before is None else {0: before}
        item = self._assigned(value)
        if not isinstance(item, dict):
            items[index] = joined([items.get(index, ""), item]) if assignment.is_append else item
        self.state.set(assignment.name, items)

    def _assigned(self, assignment: Assignment) -> Value | Array:
        before = self.state.get(assignment.name, 0) if assignment.is_append else None
        if isinstance(assignment.value, tuple):
            values = self.expander.fields(assignment.value)
            if isinstance(before, dict):
                start = max(before, default=-1) + 1
                return before | {start + i: v for i, v in enumerate(values)}
            return dict(enumerate([*([before] if before is not None else []), *values]))
        value = self.expander.value(assignment.value)
        if before is None:
            return value
        if isinstance(before, dict):
            return before | {0: joined([before.get(0, ""), value])}
        return joined([before, value])

    def _program(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        self.run.step(line)
        name = words[0]
        if isinstance(name, Unknown):
            raise ScriptError(f"which command runs is not known: {name}", line)
        if name in self.state.functions:
            with self.environment(env):
                self._call(self.state.functions[name], words[1:])
        elif (special := _SPECIAL.get(name)) is not None:
            with self.environment(env):
                special(self, words[1:], line, source)
        else:
            with self.environment(env):
                status = run_builtin(self, words, line)
            if status is None:
                self.external(words, env, line, source)
            else:
                self.state.status = status

    @contextmanager
    def environment(self, env: dict[str, Value]) -> Iterator[None]:
        """Variables that stand before a command are its own."""
        before = {name: self.state.variables.get(name) for name in env}
        for name, value in env.items():
            self.state.set(name, value, exported=True)
        try:
            yield
        finally:
            for name, variable in before.items():
                if variable is None:
                    self.state.variables.pop(name, None)
                else:
                    self.state.variables[name] = variable

    def _call(self, body: Command, args: list[Value]) -> None:
        if len(self.state.scopes) > _DEEPEST:
            raise ScriptError("a function calls itself without an end", body.line)
        before = self.state.positional
        self.state.positional = args
        self.state.scopes.append({})
        try:
            self.command(body)
        except Returned:
            pass
        finally:
            self.state.leave()
            self.state.positional = before

    # commands that change where the script goes on

    def do_exec(self, args: list[Value], line: int, source: str) -> None:
        rest = list(args)
        while rest and rest[0] in ("-a", "-c", "-l", "--"):
            rest = rest[2:] if rest[0] == "-a" else rest[1:]
        if not rest:  # redirections of the shell itself
            self.state.status = 0
            return
        self.external(rest, {}, line, source)
        raise Ended(f"the script becomes `{short(source)}`", line, 0)

    def do_eval(self, args: list[Value], line: int, source: str) -> None:
        text = joined(args, " ")
        if isinstance(text, Unknown):
            raise ScriptError(f"eval of what is not known: {text}", line)
        self.state.status = 0
        self.block(parse(text, line))

    def do_command(self, args: list[Value], line: int, source: str) -> None:
        if args and args[0] in ("-v", "-V"):
            self.state.status = run_builtin(self, ["which", *args[1:]], line) or 0
            return
        words = args[1:] if args[:1] in (["-p"], ["--"]) else args
        if words:
            status = run_builtin(self, words, line)
            if status is None:
                self.external(words, {}, line, source)
            else:
                self.state.status = status

    def do_source(self, args: list[Value], line: int, source: str) -> None:
        name = args[0] if args else ""
        if isinstance(name, Unknown):
            raise ScriptError(f"reads a file whose name is not known: {name}", line)
        content = self.run.content(absolute(name, self.state.directory))
        if isinstance(content, Unknown):
            raise ScriptError(f"reads {name}: {content}", line)
        if content is None:
            self.run.unread.append(f"line {line} reads {name}, a file of the image that is not read")
            self.state.status = 0
            if not _ACTIVATES.search(name):
                self._tainted(Unknown(f"a variable that {name}, a file of the image, may set", line))
            return
        before = self.state.positional
        self.state.positional = args[1:] or before
        with suppress(Returned):
            self.block(parse(content))
        self.state.positional = before

    def _tainted(self, why: Unknown) -> None:
        self.state.unset = why
        for name in self.state.variables:
            self.state.set(name, why)

    def do_exit(self, args: list[Value], line: int, source: str) -> None:
        raise Ended(f"the script ends with `{short(source)}`", line, self._given(args))

    def do_return(self, args: list[Value], line: int, source: str) -> None:
        self.state.status = self._given(args)
        raise Returned

    def _given(self, args: list[Value]) -> int:
        given = args[0] if args else self.state.status
        if isinstance(given, int):
            return given
        return int(given) % 256 if isinstance(given, str) and re.fullmatch(r"-?\d{1,9}", given) else 0

    def do_break(self, args: list[Value], line: int, source: str) -> None:
        raise Left(max(self._given(args) if args else 1, 1), goes_on=False)

    def do_continue(self, args: list[Value], line: int, source: str) -> None:
        raise Left(max(self._given(args) if args else 1, 1), goes_on=True)

    def do_wait(self, args: list[Value], line: int, source: str) -> None:
        if self.run.starts and not args:
            raise Found
        self.state.status = Unknown("how a job ends", line) if args else 0

    def do_trap(self, args: list[Value], line: int, source: str) -> None:
        text = args[0] if args else ""
        if isinstance(text, str) and re.search(r"\bserve\b|api_server|launch_server|inference-sim", text):
            raise ScriptError(f"starts a server from a trap: {short(source)}", line)
        self.state.status = 0


# command -> the method that does it
_SPECIAL: dict[str, Callable[[Shell, list[Value], int, str], None]] = {
    "exec": Shell.do_exec, "eval": Shell.do_eval, "command": Shell.do_command, "builtin": Shell.do_command,
    "source": Shell.do_source, ".": Shell.do_source, "exit": Shell.do_exit, "return": Shell.do_return,
    "break": Shell.do_break, "continue": Shell.do_continue, "wait": Shell.do_wait, "trap": Shell.do_trap,
}  # fmt: skip
