"""Programs that a script starts: servers, shells, wrappers, text programs and all others.

Nothing runs: of the others only what their names promise is taken, and what they would write or answer stays
unknown.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.containers.expand.expansion import absolute
from gateway.containers.expand.parameters import Ended
from gateway.containers.expand.values import State, Unknown, Value, Variable, joined
from gateway.containers.grammar.parser import parse
from gateway.containers.grammar.syntax import CommandSub
from gateway.containers.shell.builtins import run_builtin
from gateway.containers.shell.context import Output, short, texts
from gateway.containers.shell.effects import beyond_posix
from gateway.containers.shell.filters import FILTERS
from gateway.containers.shell.flow import Flow
from gateway.containers.shell.run import Found, Start
from gateway.containers.shell.shellcall import shell_call
from gateway.containers.shell.wrappers import unwrap
from gateway.errors import ScriptError

SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_SILENT = frozenset(
    ["mkdir", "rm", "touch", "chmod", "chown", "sleep", "cp", "mv", "ln", "kill", "pkill", "rmdir", "install"]
)  # programs that write nothing
_DEEPEST = 40  # scripts within each other


class Programs(Flow):
    """What commands that are no builtins do. Raises ScriptError for what cannot be followed."""

    def program(self, words: list[Value]) -> None:
        """Run `words` as the container's own command."""
        self.external(words, {}, 1, " ".join(w if isinstance(w, str) else "..." for w in words))

    def external(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        """A program: a server, a shell, a wrapper, one whose output is known, or any other."""
        unwrapped = unwrap(words, line)
        if unwrapped is not None and unwrapped.words:
            with self._wrapped(env | unwrapped.env, unwrapped.removed, unwrapped.is_bare):
                self.external(unwrapped.words, {}, line, source)
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
        elif base == "vllm" and words[1:] in (["--version"], ["-v"]):
            self._version(line)
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
        try:
            result = function(known, text, self.run.world)
        except (ValueError, OverflowError):  # a number of thousands of digits
            return False
        if result is None:
            return False
        self.output.write(result)
        self.state.status = 0
        return True

    def _tell_of_bash(self, shell: Value, script: Value) -> None:
        """A script for bash that another shell is to run: what it means hangs on the image's."""
        if not isinstance(script, str) or not isinstance(shell, str) or posixpath.basename(shell) == "bash":
            return
        if found := beyond_posix(parse(script)):
            told = f"the script is run by {shell} and read as bash reads it: {found} is not POSIX"
            self.run.unread += [told] if told not in self.run.unread else []

    def _version(self, line: int) -> None:
        """`vllm --version`: vLLM is the simulator here."""
        version = self.run.world.vllm_version
        told = f"line {line} asks for vLLM's version and is answered {version}"
        if told not in self.run.unread:
            self.run.unread.append(told)
        self.output.write(f"{version}\n")
        self.state.status = 0

    def _operand(self, args: list[str]) -> Value | None:
        """What the file holds that stands behind a filter's own arguments, where one does."""
        if len(args) < 2 or args[-1].startswith("-"):
            return None
        return self.run.content(absolute(args[-1], self.state.directory))

    def _copy(self, base: str, args: list[Value], line: int) -> None:
        names = [a for a in args if a not in ("-a", "-", "--", "-u")]
        if base == "cat":
            if not names:
                self.output.write(self.input.all())
            for name in names:
                self.output.write(self.file(name, line))
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
                    f"`{base}` may run a server in a way that is not known: {short(source)}", line
                )
        if base == "sleep" and any(w in ("infinity", "inf") for w in words[1:]):
            raise Ended("the script sleeps for ever", line, -1)
        if base == "tail" and any(isinstance(w, str) and re.match(r"-\w*[fF]", w) for w in words[1:]):
            raise Ended("the script follows a file for ever", line, -1)
        for word in words[1:]:
            if isinstance(word, str) and (path := absolute(word, self.state.directory)) in self.run.files:
                self.run.files[path] = Unknown(f"{path} after `{base}`", line)
        self.run.ran.append(short(source))
        if base not in _SILENT:
            self.output.write(Unknown(f"the output of `{short(source)}`", line))
        self.state.status = Unknown(f"whether `{short(source)}` succeeds", line)

    def _shell(self, words: list[Value], env: dict[str, Value], line: int, source: str) -> None:
        """`bash -c SCRIPT NAME ARGS`, `bash FILE ARGS`."""
        call = shell_call(words, line)
        if call.script is not None:
            self._tell_of_bash(words[0], call.script)
            self._script(call.script, [call.name, *call.args], env, line, call.options)
            return
        if call.file is None:
            text = self.input.all()
            self._script(text, [words[0], *call.args], env, line, call.options)
            return
        content = self.run.content(absolute(call.file, self.state.directory))
        if content is None:
            self.run.unread.append(f"line {line} runs {call.file}, a file of the image that is not read")
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
        if self.depth > _DEEPEST:
            raise ScriptError("scripts run each other without an end", line)
        variables = {n: Variable(v, True) for n, v in (self.state.exported() | env).items()}
        name = words[0]
        state = State(variables, name if isinstance(name, str) else "sh", words[1:])
        state.options = set(options)
        state.directory, state.unset = self.state.directory, self.state.unset
        shell = type(self)(state, self.run, self.depth + 1)
        shell.input, shell.output, shell.tested = self.input, self.output, 0
        if (shebang := re.match(r"#![ \t]*(\S+)(?:[ \t]+(\S+))?", script)) and (
            posixpath.basename(shebang[2] or shebang[1]) not in SHELLS
        ):
            self.run.unread.append(f"line {line} runs {name}, which is no shell script and is not read")
            self.state.status = Unknown(f"whether {name} succeeds", line)
            return
        with shell.contained():
            shell.block(parse(script))
        self.state.status = shell.state.status

    def capture(self, part: CommandSub) -> Value:
        shell = self.subshell()
        shell.output = Output()
        with shell.contained():
            shell.block(part.body)
        self.state.status = shell.state.status
        return shell.output.text()
