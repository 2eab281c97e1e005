"""A script followed command by command, as far as a server: lists, conditions, loops, functions, programs.

No program runs: of those that are no server only what their names promise is taken, and what they would write
or answer stays unknown. A condition that is not known is decided by the way (run.py); search.py takes all ways.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.containers.expand.conditions import BadTestError, Tester
from gateway.containers.expand.expansion import Ended, absolute
from gateway.containers.expand.patterns import matches
from gateway.containers.expand.values import Array, Input, State, Status, Unknown, Value, Variable, joined
from gateway.containers.grammar.parser import DECLARING, parse
from gateway.containers.grammar.syntax import (
    AndOr,
    ArithmeticFor,
    Assignment,
    Block,
    Case,
    Command,
    CommandSub,
    Condition,
    For,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Reckoning,
    Redirect,
    Simple,
    Word,
)
from gateway.containers.shell.builtins import run_builtin
from gateway.containers.shell.context import Context, Output, texts
from gateway.containers.shell.effects import effects
from gateway.containers.shell.filters import FILTERS
from gateway.containers.shell.run import Found, Run, Start
from gateway.containers.shell.shellcall import shell_call
from gateway.containers.shell.wrappers import unwrap
from gateway.errors import ScriptError

SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_SILENT = frozenset(
    [
        "mkdir",
        "rm",
        "touch",
        "chmod",
        "chown",
        "sleep",
        "cp",
        "mv",
        "ln",
        "kill",
        "pkill",
        "trap",
        "rmdir",
        "install",
    ]
)
_ACTIVATES = re.compile(r"(/bin/activate|/etc/profile|conda\.sh|\.bashrc|/setup\.sh)$")
_WORDY = re.compile(r"[A-Za-z_]\w*(\+?)=.*", re.DOTALL)
_DEEPEST = 40  # functions and scripts within each other


class Left(Exception):  # noqa: N818 - the ways of a script, no faults
    """`break` and `continue`, of that many loops."""

    def __init__(self, levels: int, *, goes_on: bool) -> None:
        self.levels = levels
        self.goes_on = goes_on
        super().__init__()


class Returned(Exception):  # noqa: N818
    """`return`: the status stands in the state."""


class Shell(Context):
    """One shell or subshell. Raises ScriptError for what cannot be followed."""

    def __init__(self, state: State, run: Run, depth: int = 0) -> None:
        super().__init__(state, run)
        self._depth = depth
        self._tested = 0  # conditions around the command: `set -e` does not end the script there

    # lists

    def block(self, block: Block) -> None:
        for item in block:
            self._item(item)

    def _item(self, item: AndOr) -> None:
        if item.is_background:
            self._background(item)
        else:
            self._and_or(item)

    def _background(self, item: AndOr) -> None:
        shell = self._subshell()
        shell.input = Input("")
        try:
            shell._and_or(item)
        except (Found, Ended, Returned, Left):
            pass
        self.state.status = 0

    def _subshell(self) -> Shell:
        shell = Shell(self.state.copy(), self.run, self._depth + 1)
        if self._depth > _DEEPEST:
            raise ScriptError("calls itself without an end")
        shell.input, shell.output, shell._tested = self.input, self.output, self._tested
        return shell

    def _and_or(self, item: AndOr) -> None:
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
        self._tested += 1
        try:
            yield
        finally:
            self._tested -= 1

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
        if "e" in self.state.options and not self._tested and not isinstance(status, Unknown) and status:
            raise Ended(
                f"`{_short(pipeline.source)}` fails, and `set -e` ends the script", pipeline.line, status
            )

    def _commands(self, pipeline: Pipeline) -> None:
        if len(pipeline.commands) == 1:
            self._command(pipeline.commands[0])
            return
        statuses: list[Status] = []
        source, output = self.input, self.output
        found = False
        for i, command in enumerate(pipeline.commands):
            shell = self._subshell()
            shell.input = source
            is_last = i == len(pipeline.commands) - 1
            shell.output = output if is_last else Output()
            try:
                shell._command(command)
            except Found:
                found = True
            except Ended as ended:
                if ended.status < 0:
                    raise
                shell.state.status = ended.status
            except (Returned, Left):
                pass
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

    # compound commands

    def _command(self, command: Command) -> None:
        self.run.step(command.line)
        if isinstance(command, Simple):
            self._simple(command)
        elif isinstance(command, Function):
            self.state.functions[command.name] = command.body
            self.state.status = 0
        else:
            with self._redirected(command.redirects):
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
            except BadTestError:
                truth = False
            self.state.status = self.status(
                Unknown(truth.why, command.line) if isinstance(truth, Unknown) else truth
            )
        elif isinstance(command, Reckoning):
            number = self.expander.number(command.text, command.line)
            self.state.status = number if isinstance(number, Unknown) else int(number == 0)

    def _group(self, group: Group) -> None:
        if not group.is_subshell:
            self.block(group.body)
            return
        shell = self._subshell()
        try:
            shell.block(group.body)
        except Ended as ended:
            if ended.status < 0:
                raise
            shell.state.status = ended.status
        except (Returned, Left):
            pass
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

    # redirections

    @contextmanager
    def _redirected(self, redirects: Sequence[Redirect]) -> Iterator[None]:
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
                self.run.files[path] = joined([old, output.text()])

    def _redirect(self, redirect: Redirect, writes: list[tuple[str, Output, bool]]) -> None:
        if not isinstance(redirect.target, Word):
            self.input = Input(self.expander.value(redirect.target.word))
            return
        target = self.expander.value(redirect.target)
        if redirect.op == "<<<":
            self.input = Input(joined([target, "\n"]))
        elif redirect.op == "<":
            self.input = Input(self._file(target, redirect.target.line))
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

    def _file(self, path: Value, line: int) -> Value:
        if isinstance(path, Unknown):
            return path
        content = self.run.content(absolute(path, self.state.directory))
        return Unknown(f"what {path}, a file of the image, holds", line) if content is None else content

    # simple commands

    def _simple(self, command: Simple) -> None:
        words = self._words(command)
        with self._redirected(command.redirects):
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
            self._program(words, known, command.line, command.source)

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

    # programs

    def _program(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        self.run.step(line)
        name = words[0]
        if isinstance(name, Unknown):
            raise ScriptError(f"which command runs is not known: {name}", line)
        if name in self.state.functions:
            with self._environment(env):
                self._call(self.state.functions[name], words[1:])
        elif (special := getattr(self, f"_do_{_SPECIAL.get(name, '')}", None)) is not None:
            with self._environment(env):
                special(words[1:], line, source)
        else:
            with self._environment(env):
                status = run_builtin(self, words, line)
            if status is None:
                self._external(words, env, line, source)
            else:
                self.state.status = status

    @contextmanager
    def _environment(self, env: dict[str, Value]) -> Iterator[None]:
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
            self._command(body)
        except Returned:
            pass
        finally:
            self.state.leave()
            self.state.positional = before

    def _external(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        """A program: a server, a shell, a wrapper, one whose output is known, or any other."""
        unwrapped = unwrap(words, line)
        if unwrapped is not None and unwrapped.words:
            with self._wrapped(env | unwrapped.env, unwrapped.removed, unwrapped.is_bare):
                self._external(unwrapped.words, {}, line, source)
            return
        if self.run.world.is_server(words):
            environment = self.state.exported() | env
            self.run.start(Start(tuple(words), environment, line, source))
            raise Found
        name = words[0]
        if isinstance(name, Unknown):
            raise ScriptError(f"which command runs is not known: {name}", line)
        base = posixpath.basename(name)
        if base in SHELLS:
            self._shell(words, env, line, source)
        elif "/" in name and (script := self.run.content(absolute(name, self.state.directory))) is not None:
            self._script(script, [name, *words[1:]], env, line)
        elif base in {"cat", "tee"}:
            self._copy(base, words[1:], line)
        elif (builtin := run_builtin(self, [base, *words[1:]], line) if "/" in name else None) is not None:
            self.state.status = builtin
        elif base not in FILTERS or not self._filter(base, words[1:]):
            self._other(base, words, line, source)

    @contextmanager
    def _wrapped(self, env: dict[str, Value], removed: frozenset[str], is_bare: bool) -> Iterator[None]:
        before = self.state.variables
        kept = {} if is_bare else {n: v for n, v in before.items() if n not in removed}
        self.state.variables = kept | {n: Variable(v, True) for n, v in env.items()}
        try:
            yield
        finally:
            self.state.variables = before

    def _filter(self, base: str, args: list[Value]) -> bool:
        """Whether the output of a text program is known, and was written."""
        function, reads = FILTERS[base]
        known = texts(args)
        text: Value = ""
        if reads and not isinstance(known, Unknown) and (content := self._operand(known)) is not None:
            known, text = known[:-1], content
        elif reads:
            text = self.input.all()
        if isinstance(known, Unknown) or isinstance(text, Unknown):
            unknown = known if isinstance(known, Unknown) else text
            self.output.write(unknown)
            self.state.status = 0
            return True
        result = function(known, text, self.run.world)
        if result is None:
            return False
        self.output.write(result)
        self.state.status = 0
        return True

    def _operand(self, args: list[str]) -> Value | None:
        """What the file holds that stands behind a filter's own arguments, where one does."""
        if len(args) < 2 or args[-1].startswith("-"):
            return None
        return self.run.content(absolute(args[-1], self.state.directory))

    def _copy(self, base: str, args: list[Value], line: int) -> None:
        names = [a for a in args if a not in ("-a", "-", "--", "-u")]
        if base == "cat":
            for name in names or [None]:
                self.output.write(self.input.all() if name is None else self._file(name, line))
        else:
            text = self.input.all()
            self.output.write(text)
            for name in names:
                if isinstance(name, str) and not name.startswith("/dev/"):
                    path = absolute(name, self.state.directory)
                    old = self.run.files.get(path, "") if "-a" in args else ""
                    self.run.files[path] = joined([old, text])
        self.state.status = 0

    def _other(self, base: str, words: list[Value], line: int, source: str) -> None:
        """A program that is not followed: what it writes and whether it succeeds is not known."""
        for i in range(1, len(words)):
            if self.run.world.is_server(words[i:]):
                raise ScriptError(
                    f"`{base}` may run a server in a way that is not known: {_short(source)}", line
                )
        if base == "sleep" and any(w in ("infinity", "inf") for w in words[1:]):
            raise Ended("the script sleeps for ever", line, -1)
        if base == "tail" and any(isinstance(w, str) and re.match(r"-\w*[fF]", w) for w in words[1:]):
            raise Ended("the script follows a file for ever", line, -1)
        for word in words[1:]:
            if isinstance(word, str) and (path := absolute(word, self.state.directory)) in self.run.files:
                self.run.files[path] = Unknown(f"{path} after `{base}`", line)
        self.run.ran.append(_short(source))
        if base not in _SILENT:
            self.output.write(Unknown(f"the output of `{_short(source)}`", line))
        self.state.status = Unknown(f"whether `{_short(source)}` succeeds", line)

    # shells

    def program(self, words: list[Value]) -> None:
        """Run `words` as the container's own command."""
        self._external(words, {}, 1, " ".join(w if isinstance(w, str) else "..." for w in words))

    def _shell(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        """`bash -c SCRIPT NAME ARGS`, `bash FILE ARGS`."""
        call = shell_call(words, line)
        if call.script is not None:
            self._script(call.script, [call.name, *call.args], env, line, call.options)
            return
        if call.file is None:
            text = self.input.all()
            self._script(text, [words[0], *call.args], env, line, call.options)
            return
        content = self.run.content(absolute(call.file, self.state.directory))
        if content is None:
            self.run.unread.append(f"line {line} runs {call.file}, a file of the image")
            self._other("sh", words, line, source)
            return
        self._script(content, [call.file, *call.args], env, line, call.options)

    def _script(
        self,
        script: Value,
        words: list[Value],
        env: dict[str, Value],
        line: int,
        options: frozenset[str] = frozenset(),
    ) -> None:
        """A script in a shell of its own."""
        if isinstance(script, Unknown):
            raise ScriptError(f"runs a script that is not known: {script}", line)
        if self._depth > _DEEPEST:
            raise ScriptError("scripts run each other without an end", line)
        variables = {n: Variable(v, True) for n, v in (self.state.exported() | env).items()}
        name = words[0]
        state = State(variables, name if isinstance(name, str) else "sh", words[1:])
        state.options = set(options)
        state.directory, state.unset = self.state.directory, self.state.unset
        shell = Shell(state, self.run, self._depth + 1)
        shell.input, shell.output, shell._tested = self.input, self.output, 0
        if (shebang := re.match(r"#!\s*(\S+)(?:\s+(\S+))?", script)) and (
            posixpath.basename(shebang[2] or shebang[1]) not in SHELLS
        ):
            self.run.unread.append(f"line {line} runs {name}, which is no shell script")
            self.state.status = Unknown(f"whether {name} succeeds", line)
            return
        try:
            shell.block(parse(script))
        except Ended as ended:
            if ended.status < 0:
                raise
            shell.state.status = ended.status
        except (Returned, Left):
            pass
        self.state.status = shell.state.status

    def capture(self, part: CommandSub) -> Value:
        shell = self._subshell()
        shell.output = Output()
        try:
            shell.block(part.body)
        except Ended as ended:
            if ended.status < 0:
                raise
            shell.state.status = ended.status
        except (Returned, Left):
            pass
        self.state.status = shell.state.status
        return shell.output.text()

    # commands that change where the script goes on

    def _do_exec(self, args: list[Value], line: int, source: str) -> None:
        rest = list(args)
        while rest and rest[0] in ("-a", "-c", "-l", "--"):
            rest = rest[2:] if rest[0] == "-a" else rest[1:]
        if not rest:  # redirections of the shell itself
            self.state.status = 0
            return
        self._external(rest, {}, line, source)
        raise Ended(f"the script becomes `{_short(source)}`", line, 0)

    def _do_eval(self, args: list[Value], line: int, source: str) -> None:
        text = joined(args, " ")
        if isinstance(text, Unknown):
            raise ScriptError(f"eval of what is not known: {text}", line)
        self.state.status = 0
        self.block(parse(text, line))

    def _do_command(self, args: list[Value], line: int, source: str) -> None:
        if args and args[0] in ("-v", "-V"):
            self.state.status = run_builtin(self, ["which", *args[1:]], line) or 0
            return
        words = args[1:] if args[:1] in (["-p"], ["--"]) else args
        if words:
            status = run_builtin(self, words, line)
            if status is None:
                self._external(words, {}, line, source)
            else:
                self.state.status = status

    def _do_source(self, args: list[Value], line: int, source: str) -> None:
        name = args[0] if args else ""
        if isinstance(name, Unknown):
            raise ScriptError(f"reads a file whose name is not known: {name}", line)
        content = self.run.content(absolute(name, self.state.directory))
        if isinstance(content, Unknown):
            raise ScriptError(f"reads {name}: {content}", line)
        if content is None:
            self.run.unread.append(f"line {line} reads {name}, a file of the image")
            self.state.status = 0
            if not _ACTIVATES.search(name):
                self._tainted(Unknown(f"a variable that {name}, a file of the image, may set", line))
            return
        before = self.state.positional
        self.state.positional = args[1:] or before
        try:
            self.block(parse(content))
        except Returned:
            pass
        self.state.positional = before

    def _tainted(self, why: Unknown) -> None:
        self.state.unset = why
        for name in self.state.variables:
            self.state.set(name, why)

    def _do_exit(self, args: list[Value], line: int, source: str) -> None:
        raise Ended(f"the script ends with `{_short(source)}`", line, self._given(args))

    def _do_return(self, args: list[Value], line: int, source: str) -> None:
        self.state.status = self._given(args)
        raise Returned

    def _given(self, args: list[Value]) -> int:
        given = args[0] if args else self.state.status
        if isinstance(given, int):
            return given
        return int(given) % 256 if isinstance(given, str) and re.fullmatch(r"-?\d+", given) else 0

    def _do_break(self, args: list[Value], line: int, source: str) -> None:
        raise Left(max(self._given(args) if args else 1, 1), goes_on=False)

    def _do_continue(self, args: list[Value], line: int, source: str) -> None:
        raise Left(max(self._given(args) if args else 1, 1), goes_on=True)

    def _do_wait(self, args: list[Value], line: int, source: str) -> None:
        if self.run.starts and not args:
            raise Found
        self.state.status = Unknown("how a job ends", line) if args else 0

    def _do_trap(self, args: list[Value], line: int, source: str) -> None:
        text = args[0] if args else ""
        if isinstance(text, str) and re.search(r"\bserve\b|api_server|launch_server|inference-sim", text):
            raise ScriptError(f"starts a server from a trap: {_short(source)}", line)
        self.state.status = 0


# command -> the method that does it
_SPECIAL = {
    "exec": "exec", "eval": "eval", "command": "command", "builtin": "command", "source": "source", ".": "source",
    "exit": "exit", "return": "return", "break": "break", "continue": "continue", "wait": "wait", "trap": "trap",
}  # fmt: skip


def _short(text: str) -> str:
    words = " ".join(text.replace("\\\n", " ").split())
    return words if len(words) <= 60 else f"{words[:57]}..."
