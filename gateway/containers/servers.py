"""Which command is a model server, and its flags as the simulator takes them; by the table of known.py.

Of SGLang and TensorRT-LLM what has no counterpart is said by name.
Facts: sglang/srt/server_args.py, tensorrt_llm/commands/serve.py.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.containers.expand.values import Unknown, Value
from gateway.containers.known import BY_KIND, MODULES, PROGRAMS, SERVING
from gateway.errors import ScriptError

_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_PYTHON_FLAGS = re.compile(r"-[BdEiIOPqsSuvxb]+")
_VLLM_CLI = frozenset({"vllm.entrypoints.cli.main", "vllm"})  # modules that read `serve` as the program does


Recogniser = Callable[[list[Value]], bool]  # whether words start what is looked for


@dataclass(frozen=True)
class Server:
    """A server's flags for the simulator; `kind` is vllm, sglang, trtllm-serve or another's name.

    `notes` say what of its command line has no counterpart.
    """

    kind: str
    flags: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """The program of a server, its kind and the words behind it."""

    kind: str
    rest: tuple[Value, ...]


def find(words: Sequence[Value]) -> Command | None:
    """What `words` start where it is a server, else None."""
    if not words or not isinstance(words[0], str):
        return None
    program = posixpath.basename(words[0])
    rest = list(words[1:])
    if _PYTHON.fullmatch(program):
        return _of_python(rest)
    return _of_program(program, rest)


def _of_python(words: list[Value]) -> Command | None:
    rest = list(words)
    while rest and isinstance(rest[0], str):
        word = rest[0]
        if word == "-m" or (word.startswith("-m") and len(word) > 2):
            module = rest[1] if word == "-m" and len(rest) > 1 else word[2:]
            return _of_module(module, rest[2 if word == "-m" else 1 :])
        if word in {"-X", "-W"}:
            rest = rest[2:]
        elif _PYTHON_FLAGS.fullmatch(word) or word.startswith(("-X", "-W")):
            rest = rest[1:]
        elif word.startswith("-"):
            return None
        elif word.endswith("vllm/entrypoints/openai/api_server.py"):
            return Command("vllm", tuple(rest[1:]))
        else:  # the console script, as `python3 $(which vllm) serve`
            return None if word.endswith(".py") else _of_program(posixpath.basename(word), rest[1:])
    return None


def _of_module(module: Value, rest: list[Value]) -> Command | None:
    if isinstance(module, Unknown):
        raise ScriptError(f"python -m runs a module that is not known: {module}", module.line)
    if module in _VLLM_CLI:
        return _of_program("vllm", rest)
    known = MODULES.get(module)
    return Command(known.kind, tuple(rest)) if known else None


def _of_program(program: str, rest: list[Value]) -> Command | None:
    if any(w in ("-h", "--help", "--version") for w in rest):
        return None
    if (known := PROGRAMS.get(program)) is None:
        return None
    if program in SERVING:
        if known.is_imitated and rest and isinstance(rest[0], Unknown):
            raise ScriptError(f"{program} {rest[0]}", rest[0].line)
        if rest[:1] != ["serve"]:
            return None
    takes_serve = (program in SERVING and known.is_imitated) or program == "trtllm-serve"
    words = rest[1:] if takes_serve and rest[:1] == ["serve"] else rest
    return Command(known.kind, tuple(words))


def is_server(words: list[Value]) -> bool:
    """Whether `words` start a model server of any kind."""
    return find(words) is not None


def server(words: Sequence[Value]) -> Server:
    """The server that `words` start; a ScriptError for one that is not imitated or not known in full."""
    command = find(words)
    if command is None:
        raise ScriptError("no server command found")
    flags = []
    for word in command.rest:
        if isinstance(word, Unknown):
            raise ScriptError(f"the server's arguments hold {word}", word.line or None)
        flags.append(word)
    if command.kind == "vllm":
        return Server("vllm", tuple(flags))
    if command.kind not in _TRANSLATORS:
        raise ScriptError(f"{command.kind} is {BY_KIND[command.kind].about}; the simulator imitates vLLM")
    return _TRANSLATORS[command.kind](flags)


# flag of SGLang -> vLLM's; "" has no counterpart that matters to who sends requests
_SGLANG = {
    "model-path": "model", "model": "model", "served-model-name": "served-model-name", "port": "port",
    "host": "host", "context-length": "max-model-len", "tp": "tensor-parallel-size",
    "tp-size": "tensor-parallel-size",
    "tensor-parallel-size": "tensor-parallel-size", "max-running-requests": "max-num-seqs",
    "page-size": "block-size", "chunked-prefill-size": "max-num-batched-tokens", "api-key": "api-key",
    "log-level": "log-level", "random-seed": "seed", "mem-fraction-static": "gpu-memory-utilization",
    "ssl-keyfile": "ssl-keyfile", "ssl-certfile": "ssl-certfile", "ssl-ca-certs": "ssl-ca-certs",
}  # fmt: skip
_SGLANG_SWITCHES = {"disable-radix-cache": "--no-enable-prefix-caching"}
_TRTLLM = {
    "port": "port", "host": "host", "max-seq-len": "max-model-len", "max-batch-size": "max-num-seqs",
    "max-num-tokens": "max-num-batched-tokens", "tp-size": "tensor-parallel-size",
    "served-model-name": "served-model-name", "kv-cache-free-gpu-memory-fraction": "gpu-memory-utilization",
}  # fmt: skip
_SGLANG_PORT = "30000"  # its default


def _translated(
    words: Sequence[str], table: dict[str, str], switches: dict[str, str]
) -> tuple[list[str], list[str], list[str]]:
    """Flags that have a counterpart, those that have none, and what is no flag."""
    flags: list[str] = []
    dropped: list[str] = []
    positional: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            positional.append(word)
            continue
        stem, equals, attached = word.partition("=")
        name = stem.lstrip("-").replace("_", "-")
        if name in table:
            value = attached if equals else rest.pop(0) if rest else ""
            flags += [f"--{table[name]}", value]
        elif name in switches:
            flags.append(switches[name])
        else:
            dropped.append(stem)
            while not equals and rest and not rest[0].startswith("-"):
                rest.pop(0)
    return flags, dropped, positional


def _sglang(words: list[str]) -> Server:
    flags, dropped, _ = _translated(words, _SGLANG, _SGLANG_SWITCHES)
    flags += [] if "--port" in flags else ["--port", _SGLANG_PORT]
    return Server("sglang", tuple(flags), (_told("SGLang", "sglang:", dropped),))


def _trtllm(words: list[str]) -> Server:
    flags, dropped, positional = _translated(words, _TRTLLM, {})
    if not words or words[0].startswith("-") or positional != words[:1]:
        raise ScriptError("trtllm-serve: the model must come first for it to be told from flags' values")
    return Server("trtllm-serve", ("--model", words[0], *flags), (_told("TensorRT-LLM", "trtllm_", dropped),))


def _told(name: str, metrics: str, dropped: list[str]) -> str:
    without = f"; without a counterpart: {' '.join(dict.fromkeys(dropped))}" if dropped else ""
    return (
        f"{name} is played by the simulator of vLLM with its model, names, port and limits: metrics are "
        f"vllm:*, not {metrics}*, and so are its errors{without}"
    )


_TRANSLATORS: dict[str, Callable[[list[str]], Server]] = {"sglang": _sglang, "trtllm-serve": _trtllm}
