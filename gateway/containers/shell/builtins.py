"""The shell's own commands that neither run others nor change where the script goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gateway.containers.expand.arithmetic import UnknownNumberError
from gateway.containers.expand.conditions import BadTestError, Tester
from gateway.containers.expand.expansion import absolute
from gateway.containers.expand.values import State, Status, Unknown, Value, joined
from gateway.containers.shell.context import Context, texts
from gateway.containers.shell.reading import read
from gateway.errors import ScriptError

Builtin = Callable[[Context, list[Value], int], Status]
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.ASCII | re.DOTALL)
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|0([0-7]{0,3})|([ntrabefv\\])|(c))", re.DOTALL)
_WIDEST = 3  # digits of a width
_FORMAT = re.compile(r"%%|%([-+ 0#]*)(\*|\d*)(?:\.(\*|\d+))?([A-Za-z])")
# `set -o NAME` by letter; other names change nothing that is followed
_LONG_OPTIONS = {"errexit": "e", "nounset": "u", "noglob": "f", "allexport": "a", "pipefail": "pipefail"}


def _nothing(_context: Context, _args: list[Value], _line: int) -> Status:
    return 0


def _false(_context: Context, _args: list[Value], _line: int) -> Status:
    return 1


def _unescaped(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1] or found[2] is not None:
            return chr(int(found[1] or found[2] or "0", 16 if found[1] else 8) & 0xFF)
        return _ESCAPES.get(found[3] or "", "")

    text = text.split("\\c", maxsplit=1)[0] if re.search(r"(?<!\\)(?:\\\\)*\\c", text) else text
    return _ESCAPE.sub(replaced, text)


def _echo(context: Context, args: list[Value], line: int) -> Status:
    newline, escapes = True, False
    while args and isinstance(args[0], str) and re.fullmatch(r"-[neE]+", args[0]):
        for letter in args[0][1:]:
            newline &= letter != "n"
            escapes = letter == "e" or (escapes and letter != "E")
        args = args[1:]
    text = joined(args, " ")
    if isinstance(text, str):
        text = _unescaped(text) if escapes else text
        text += "\n" if newline else ""
    context.output.write(text)
    return 0


def _printf(context: Context, args: list[Value], line: int) -> Status:
    name = None
    if args[:1] == ["-v"] and len(args) > 2 and isinstance(args[1], str):
        name, args = args[1], args[2:]
    args = args[1:] if args[:1] == ["--"] else args
    known = texts(args)
    value: Value = known if isinstance(known, Unknown) else _formatted(known, line)
    if name is not None:
        context.state.set(name, value)
    else:
        context.output.write(value)
    return 0


def _formatted(args: list[str], line: int) -> Value:
    if not args:
        return ""
    template, rest = _unescaped(args[0]), args[1:]
    result = ""
    while True:
        before = len(rest)
        position = 0
        for found in _FORMAT.finditer(template):
            result += template[position : found.start()]
            position = found.end()
            if found[0] == "%%":
                result += "%"
                continue
            width = rest.pop(0) if found[2] == "*" and rest else found[2].strip("*")
            if len(width) > _WIDEST or len(found[3] or "") > _WIDEST:
                return Unknown(f"printf {found[0]}", line)
            text = _one(found[4], found[1], width, found[3], rest.pop(0) if rest else None)
            if text is None:
                return Unknown(f"printf {found[0]}", line)
            result += text
        result += template[position:]
        if not rest or len(rest) == before:
            return result


def _one(kind: str, flags: str, width: str, precision: str | None, value: str | None) -> str | None:
    if precision == "*" and kind in "sbfg":
        return None
    size = f"{flags}{width}{'.' + precision if precision else ''}"
    try:
        if kind in "di":
            return f"%{flags}{width}d" % int(value or 0)
        if kind == "x":
            return f"%{flags}{width}x" % int(value or 0)
        if kind in "sb":
            return f"%{size}s" % (_unescaped(value or "") if kind == "b" else value or "")
        if kind in "fg":
            return f"%{size}{kind}" % float(value or 0)
    except ValueError:
        return None
    return None


def _declare(context: Context, args: list[Value], line: int, *, name: str) -> Status:
    options = ""
    while args and isinstance(args[0], str) and re.fullmatch(r"[-+][A-Za-z]+", args[0]):
        options += args[0]
        args = args[1:]
    args = args[1:] if args[:1] == ["--"] else args
    if ("A" in options or "n" in options) and name != "export":
        raise ScriptError(f"{name} {options} is not read", line)
    if not args and ("p" in options or name != "local"):
        context.output.write(Unknown(f"the output of `{name}`", line))
    for arg in args:
        _declare_one(context, arg, line, name, options)
    return 0


def _declare_one(context: Context, arg: Value, line: int, name: str, options: str) -> None:
    if isinstance(arg, Unknown):
        raise ScriptError(f"{name}: what is set {arg}", line)
    state = context.state
    found = _ASSIGNMENT.fullmatch(arg)
    key = found[1] if found else arg
    if not _NAME.fullmatch(key):
        return  # a shell complains and goes on
    if name == "local" or (name in {"declare", "typeset"} and "g" not in options):
        state.make_local(key)
    if found:
        before = state.get(key, line) if found[2] else ""
        value = joined([before if isinstance(before, str | Unknown) else "", found[3]])
        state.set(key, value)
    elif name == "local" and state.scopes:
        state.variables.pop(key, None)
    if name == "export" or "x" in options:
        _export(state, key, ends=name == "export" and "n" in options)


def _export(state: State, key: str, *, ends: bool) -> None:
    """A name without a value is exported once it has one."""
    variable = state.variables.get(key)
    if ends:
        state.exports.discard(key)
    if variable is not None:
        variable.is_exported = not ends
    elif not ends:
        state.exports.add(key)


def _unset(context: Context, args: list[Value], line: int) -> Status:
    for arg in args:
        if arg == "-f":
            continue
        if isinstance(arg, str) and not arg.startswith("-"):
            context.state.variables.pop(arg, None)
            context.state.exports.discard(arg)
    return 0


def _set(context: Context, args: list[Value], line: int) -> Status:
    rest = list(args)
    if not rest:
        context.output.write(Unknown("the output of `set`", line))
    while rest and isinstance(word := rest[0], str) and word[:1] in ("-", "+") and len(word) > 1:
        rest = rest[1:]
        if word == "--":
            context.state.positional = rest
            return 0
        for letter in word[1:]:
            option = letter
            if letter == "o":
                name = rest.pop(0) if rest else ""
                option = _LONG_OPTIONS.get(name if isinstance(name, str) else "", "")
            (context.state.options.add if word[0] == "-" else context.state.options.discard)(option)
    if rest:
        context.state.positional = rest[1:] if rest[0] == "-" else rest
    return 0


def _shift(context: Context, args: list[Value], line: int) -> Status:
    known = texts([*(args or ["1"]), *context.state.positional])
    if isinstance(known, Unknown) or not re.fullmatch(r"\d{1,9}", known[0]):
        raise ScriptError(f"shift of what is not known: {known}", line)
    if int(known[0]) > len(context.state.positional):
        return 1
    context.state.positional = context.state.positional[int(known[0]) :]
    return 0


def _cd(context: Context, args: list[Value], line: int) -> Status:
    words = [a for a in args if a not in ("-P", "-L", "--")]
    target = words[0] if words else context.state.get("HOME", line)
    if isinstance(target, str) and target != "-":
        base = context.state.directory
        context.state.directory = absolute(target, base) if base or target.startswith("/") else None
    else:
        context.state.directory = None
    context.state.set("PWD", context.state.directory or Unknown("the working directory", line))
    return Unknown(f"whether the image has the directory {target}", line)


def _pwd(context: Context, args: list[Value], line: int) -> Status:
    where = context.state.directory
    context.output.write(f"{where}\n" if where else Unknown("the image's working directory", line))
    return 0


def _test(context: Context, args: list[Value], line: int, *, bracket: bool) -> Status:
    if bracket:
        if args[-1:] != ["]"]:
            return 2
        args = args[:-1]
    try:
        truth = Tester(context.expander, context.exists, line).words(args)
    except BadTestError:
        return 2
    return Unknown(truth.why, line) if isinstance(truth, Unknown) else 0 if truth else 1


def _let(context: Context, args: list[Value], line: int) -> Status:
    result: int | Unknown = 0
    for arg in args:
        result = arg if isinstance(arg, Unknown) else context.expander.reckon(arg, line)
    return result if isinstance(result, Unknown) else int(result == 0)


def _mapfile(context: Context, args: list[Value], line: int) -> Status:
    name = args[-1] if args and isinstance(args[-1], str) and not args[-1].startswith("-") else "MAPFILE"
    text = context.input.all()
    if isinstance(text, Unknown) or not set(args[:-1]) <= {"-t"}:
        context.state.set(name, Unknown(f"what mapfile reads into {name}", line))
        return 0
    keep = "" if "-t" in args else "\n"
    context.state.set(
        name, {i: t + keep for i, t in enumerate(text.removesuffix("\n").split("\n"))} if text else {}
    )
    return 0


def _getopts(context: Context, args: list[Value], line: int) -> Status:
    raise ScriptError("getopts is not read", line)


def _uncertain(context: Context, args: list[Value], line: int) -> Status:
    words = " ".join(a if isinstance(a, str) else "..." for a in args)
    context.output.write(Unknown(f"the output of a look-up of {words}", line))
    return Unknown(f"whether the image has {words}", line)


def _which(context: Context, args: list[Value], line: int) -> Status:
    """The path of a program: only its name matters to whoever starts it."""
    name = args[-1] if args else ""
    if isinstance(name, str) and context.run.world.is_server([name, "serve"]):
        context.output.write(f"/usr/local/bin/{name}\n")
        return 0
    return _uncertain(context, args, line)


def _printenv(context: Context, args: list[Value], line: int) -> Status:
    env = context.state.exported()
    if len(args) == 1 and isinstance(args[0], str) and args[0] in env:
        context.output.write(joined([env[args[0]], "\n"]))
        return 0
    return _uncertain(context, args, line)


def _declaring(name: str) -> Builtin:
    def run(context: Context, args: list[Value], line: int) -> Status:
        return _declare(context, args, line, name=name)

    return run


def _testing(bracket: bool) -> Builtin:
    def run(context: Context, args: list[Value], line: int) -> Status:
        return _test(context, args, line, bracket=bracket)

    return run


BUILTINS: dict[str, Builtin] = {
    **dict.fromkeys((":", "true", "ulimit", "umask", "hash", "shopt", "jobs", "disown", "alias"), _nothing),
    **dict.fromkeys(("unalias", "history", "bg", "complete", "enable", "kill", "times", "sync"), _nothing),
    **{name: _declaring(name) for name in ("export", "declare", "typeset", "local", "readonly")},
    "false": _false, "echo": _echo, "printf": _printf, "unset": _unset, "set": _set, "shift": _shift,
    "cd": _cd, "pushd": _cd, "popd": _cd,
    "pwd": _pwd, "read": read, "test": _testing(False), "[": _testing(True),
    "let": _let, "mapfile": _mapfile, "readarray": _mapfile, "getopts": _getopts, "type": _uncertain,
    "which": _which, "printenv": _printenv,
}  # fmt: skip


def run_builtin(context: Context, words: Sequence[str | Unknown], line: int) -> Status | None:
    """Run `words` where they are a builtin, else None. Raises ScriptError for what is not read."""
    name = words[0]
    builtin = BUILTINS.get(name) if isinstance(name, str) else None
    if builtin is None:
        return None
    try:
        return builtin(context, list(words[1:]), line)
    except UnknownNumberError as error:
        return error.value
