"""Command lines as `vllm serve` 0.33 reads them: its options by argparse, with its own rules in front.

Those rules: names with dashes or underscores, unique beginnings of names, `--json.key value` gathered into
one JSON value behind everything else, `-O3`. Options of others (llm-d-inference-sim, this project) stand
beside vLLM's and never make a beginning of vLLM's names ambiguous.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from simulator.config.commandline.given import Values
from simulator.config.commandline.parser import Arguments, Given, parse, unknown
from simulator.config.commandline.vllm_values import READERS, config, human, optional
from simulator.config.compat import DEFAULT_COMPAT, Compat
from simulator.config.compat import compat as find_compat
from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.table import FLAGS
from simulator.config.flags.values import read
from simulator.config.flags.vllm_options import OPTIONS
from simulator.errors import ConfigError

_NAME = re.compile(r"(?<=--)[^\.]*")  # between the dashes and the first dot
_NEEDS = {"enable-auto-tool-choice": "tool-call-parser", "enable-log-outputs": "enable-log-requests"}
_OTHER_WAY = {"enable-": "disable-", "disable-": "enable-"}
_TRUTHS = {"true": True, "1": True, "t": True, "yes": True, "on": True}
_TRUTHS |= {"false": False, "0": False, "f": False, "no": False, "off": False}
_WANTED = {"int": "an integer", "float": "a number", "human": "an integer; 8192, 8k (8000) and 8K (8192) are"}
_WANTED["auto"] = _WANTED["human"]
_OF_ARGPARSE = re.compile(r"^argument (--[\w-]+)\S*: ")
_NO_MODEL = (
    "`model` should be provided as the first positional argument when using `vllm serve`. "
    "i.e. `vllm serve <model> --<arg> <value>`."
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of vLLM: a line of `OPTIONS`."""

    name: str
    shorts: tuple[str, ...]
    kind: str
    choices: tuple[str | None, ...]


def options() -> Iterator[Option]:
    """All of vLLM's, in its order."""
    for line in OPTIONS.replace("\n    ", " ").strip().split("\n"):
        described, _, choices = line.partition(" = ")
        name, *shorts, kind = described.split()
        found = tuple(None if choice == "None" else choice for choice in choices.split())
        yield Option(name, tuple(shorts), kind, found)


def parse_vllm(argv: Sequence[str], older: bool = False) -> Arguments:
    """Read a command line as vLLM does; raises ConfigError for what it refuses.

    `older`: options that 0.33 has no more are taken too.
    """
    result = Arguments(wants_help=any(a in ("-h", "--help") or a.startswith("--help=") for a in argv))
    if result.wants_help:
        return result
    _check_model(argv)
    parser = _parser(older)
    found, extra = parser.parse_known_args(
        _gathered(_model_first(_spelled(argv, parser.names)), parser.names)
    )
    given = vars(found)
    model = given.pop("model_tag", None)
    if model is None and len(extra) == 1 and not extra[0].startswith("-"):
        model = extra.pop()  # argparse may have looked for it before the first option only
    if extra:
        _refuse_extra(model, extra)
    if model is not None:
        result.positional.append(model)
    for name, value in given.items():
        where = f"--{name}"
        if value is not None:
            result.given[name] = Given(_as_ours(FLAGS[name], value, where), where)
    return result


def _as_ours(flag: Flag, value: Any, where: str) -> Any:
    """`value` in the type and within the bounds of a flag that does something; raises ConfigError."""
    return value if flag.inert else read(flag, value, where)


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read a command line by the rules of the server that it asks for; raises ConfigError."""
    compat = find_compat(_asked_compat(argv))
    return parse(argv) if compat.arguments == "pflag" else parse_vllm(argv, compat.older_flags)


def _asked_compat(argv: Sequence[str]) -> str:
    for name in ("--compat", "--config"):
        for i, argument in enumerate(argv):
            key, equals, value = argument.partition("=")
            if key != name or not (equals or i + 1 < len(argv)):
                continue
            value = value if equals else argv[i + 1]
            if name == "--compat":
                return value
            from simulator.config.commandline.configfile import read_file  # noqa: PLC0415  YAML, which --help need not pay

            given = read_file(value).get("compat")
            return DEFAULT_COMPAT if given is None else str(given.value)
    return DEFAULT_COMPAT


def check_together(values: Values, compat: Compat) -> None:
    """Flags that vLLM does not start with, or not without another; raises ConfigError."""
    if values.get("grpc") or values.get("grpc-port") is not None:
        where = values.where("grpc" if values.get("grpc") else "grpc-port")
        raise ConfigError(
            f"{where}: vLLM's gRPC server is not simulated, only its HTTP server; leave the flag out"
        )
    if compat.arguments != "argparse":
        return
    for flag, other in _NEEDS.items():
        if values.get(flag) and not values.get(other):
            raise ConfigError(f"{values.where(flag)}: --{flag} requires --{other}")
    if values.get("enable-per-request-metrics") and values.get("disable-log-stats"):
        where = values.where("enable-per-request-metrics")
        raise ConfigError(f"{where}: it needs the engine's statistics; take --disable-log-stats away")


def _refuse_extra(model: str | None, extra: Sequence[str]) -> NoReturn:
    first = next((argument for argument in extra if argument.startswith("-")), None)
    if first is None:
        models = [*([] if model is None else [model]), *extra]
        raise ConfigError(f"one model is expected, not {' '.join(models)!r}")
    stem = first.lstrip("-").partition("=")[0].partition(".")[0]
    flag = FLAGS.get(stem)
    if flag is not None and flag.older:
        raise ConfigError(f"--{stem} is not among the flags of vLLM 0.33, which would not start with it")
    raise unknown(stem, f"--{stem}" if first.startswith("--") else first)


def _spelled(argv: Sequence[str], names: Mapping[str, bool]) -> list[str]:
    """`argv` with dashes for underscores, whole names for their beginnings, and -O in its long form."""
    spelled: list[str] = []
    for i, argument in enumerate(argv):
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            name = _NAME.sub(lambda match: match[0].replace("_", "-"), name, count=1)
            spelled.append(_completed(name, names) + equals + value)
        elif argument.startswith("-O") and argument != "-O":
            spelled += ["--optimization-level", argument[2:].removeprefix("=")]
        elif argument == "-O" and argv[i + 1 : i + 2] and argv[i + 1] in {"0", "1", "2", "3"}:
            spelled.append("--optimization-level")
        else:
            spelled.append(argument)
    return spelled


def _completed(written: str, names: Mapping[str, bool]) -> str:
    """The name that `written` begins, where there is but one; vLLM's (true in `names`) before all others."""
    stem, dot, key = written.partition(".")
    if stem in names or stem == "--":
        return written
    # A dotted name is never completed in vLLM; argparse sees it whole afterwards, as JSON of its stem.
    beginnings = [name for name in names if name.startswith(stem)]
    meant = [name for name in beginnings if names[name]] or beginnings
    if len(meant) > 1:
        raise ConfigError(f"ambiguous option: {stem} could match {', '.join(sorted(meant))}")
    return (meant[0] if meant else stem) + dot + key


def _model_first(argv: list[str]) -> list[str]:
    """`argv` with --model's value as the positional model, which comes first."""
    for i, argument in enumerate(argv):
        if argument == "--model":
            if i + 1 == len(argv):
                raise ConfigError("--model needs a value: text")
            return [argv[i + 1], *argv[:i], *argv[i + 2 :]]
        if argument.startswith("--model="):
            return [argument.removeprefix("--model="), *argv[:i], *argv[i + 1 :]]
    return argv


def _check_model(argv: Sequence[str]) -> None:
    """Raises ConfigError where only a served name is given; beginnings of names are not seen, as in vLLM."""
    names = {argument.partition("=")[0].replace("_", "-") for argument in argv}
    if (
        argv
        and argv[0].startswith("-")
        and "--served-model-name" in names
        and not {"--config", "--model"} & names
    ):
        raise ConfigError(_NO_MODEL)


def _gathered(argv: list[str], names: Mapping[str, bool]) -> list[str]:
    """Dotted options gathered into one JSON value for each name, at the end."""
    plain: list[str] = []
    dotted: dict[str, dict[str, Any]] = {}
    position = 0
    while position < len(argv):
        argument = argv[position]
        position += 1
        name, equals, text = argument.partition("=")
        is_value = bool(plain) and names.get(plain[-1]) is False  # of an option of ours: it may be -0.5
        if not argument.startswith("-") or "." not in name or is_value:
            plain.append(argument)
            continue
        if not equals:
            if position == len(argv):
                raise ConfigError(f"{name} needs a value")
            text = argv[position]
            position += 1
        if name.endswith("+"):
            name, text = name[:-1], json.dumps(text.split(","))
        key, *path = name.split(".")
        _merge(dotted.setdefault(key, {}), path, _json_or_text(text))
    for name, value in dotted.items():
        plain += [name, json.dumps(value)]
    return plain


def _merge(node: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *steps, last = path
    for step in steps:
        inner = node.get(step)
        node[step] = node = inner if isinstance(inner, dict) else {}
    known = node.get(last)
    if isinstance(value, dict) and isinstance(known, dict):
        for key, inner in value.items():
            _merge(known, [key], inner)
    elif isinstance(value, list) and isinstance(known, list):
        known += value
    else:
        node[last] = value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return human(text)
    except (ValueError, argparse.ArgumentTypeError):
        return text


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours. `names`: long option -> whether it is vLLM's."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self.names: dict[str, bool] = {}

    def error(self, message: str) -> NoReturn:
        raise ConfigError(_OF_ARGPARSE.sub(r"\1: ", message))


class _Pair(argparse.Action):
    """On by some of its names and off by the others."""

    off: Sequence[str] = ()

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **rest)

    def __call__(self, _parser: Any, namespace: Any, _values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, option_string not in self.off)


class _Append(argparse.Action):
    def __call__(self, _parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), values])


class _Merged(argparse.Action):
    """JSON of ours: objects that are given one after the other are one."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        known = getattr(namespace, self.dest, None)
        if isinstance(known, dict) and isinstance(values, dict):
            values = {**known, **values}
        setattr(namespace, self.dest, values)


@lru_cache(maxsize=2)
def _parser(older: bool) -> _Parser:
    parser = _Parser()
    parser.add_argument("model_tag", nargs="?")
    for option in options():
        _add_vllms(parser, option)
    for flag in FLAGS.values():
        if f"--{flag.name}" not in parser.names and (older or not flag.older):
            _add_ours(parser, flag)
    return parser


def _add_vllms(parser: _Parser, option: Option) -> None:
    long = f"--{option.name}"
    names = [long, *option.shorts]
    if option.kind in ("pair", "true"):
        off = [f"--no-{option.name}"] if option.kind == "pair" else []
        for prefix, other in _OTHER_WAY.items():
            if option.kind == "pair" and option.name.startswith(prefix):
                off.append(f"--{other}{option.name.removeprefix(prefix)}")
        names += off
        action = parser.add_argument(*names, dest=option.name, action=_Pair)
        assert isinstance(action, _Pair)
        action.off = off
    else:
        _add_valued(parser, names, option)
    parser.names |= dict.fromkeys((name for name in names if name.startswith("--")), True)


def _add_valued(parser: _Parser, names: list[str], option: Option) -> None:
    kind, plus, _ = option.kind.partition("+")
    kind, tilde, _ = kind.partition("~")
    kind, maybe, _ = kind.partition("?")
    ours = FLAGS.get(option.name)
    reader = config(option.name) if kind == "config" else READERS[kind]
    extra: dict[str, Any] = {}
    if plus or kind == "lora":
        extra["nargs"] = "+"
    elif tilde:
        extra |= {"nargs": "?", "const": True}
    if kind == "append":
        extra["action"] = _Append
    if option.choices:
        wanted = [*option.choices, *(ours.choices if ours is not None else ())]
        extra["choices"] = [None if c is None else reader(c) for c in wanted]
    reader = optional(reader) if maybe else reader
    parser.add_argument(*names, dest=option.name, type=_named(reader, kind), **extra)


def _named(reader: Any, kind: str) -> Any:
    """`reader` whose refusals say what would be right."""

    def read(text: str) -> Any:
        try:
            return reader(text)
        except json.JSONDecodeError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not valid JSON ({error})") from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {_WANTED.get(kind, kind)}") from None

    return read


def _add_ours(parser: _Parser, flag: Flag) -> None:
    long = f"--{flag.name}"
    names = [long, *flag.aliases]
    if flag.kind is Kind.BOOL:
        off = f"--no-{flag.name}"
        parser.add_argument(*names, dest=flag.name, nargs="?", const=True, type=_truth)
        parser.add_argument(off, dest=flag.name, action="store_const", const=False)
        names.append(off)
    elif flag.kind is Kind.JSON:
        parser.add_argument(*names, dest=flag.name, type=_named(json.loads, "json"), action=_Merged)
    else:
        parser.add_argument(*names, dest=flag.name, nargs="*" if flag.many else None)
    parser.names |= dict.fromkeys((name for name in names if name.startswith("--")), False)


def _truth(text: str) -> bool:
    try:
        return _TRUTHS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None
