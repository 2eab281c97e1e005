"""Tool calls that the model "makes": which functions, with arguments that fit, and how they are said.

A call is decided before the sequence starts. What the engine generates is the text that a constrained model
would write, `[{"name": ..., "parameters": ...}, ...]` or the bare arguments of a named function;
`SpokenCalls` knows where in that text each call's arguments stand and turns pieces of it back into calls.
"""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.compat import Compat
from simulator.config.serve import ServeConfig, ToolCallConfig
from simulator.config.tool_parsers import parses_without_tools
from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.json_values import JsonValues
from simulator.server.errors import ApiError
from simulator.server.prepared import ordered
from simulator.server.requests.lean import ChatRequest

_MAX_CALLS = 8


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class SpokenCalls:
    """Calls and the text that says them. `spans` are the places of the arguments in `text`."""

    calls: list[ToolCall]
    text: str
    spans: list[tuple[int, int]]
    named: bool  # the client named the function
    automatic: bool  # tool_choice auto

    def spoken(self, said: str) -> list[tuple[ToolCall, str]]:
        """The calls that have begun in `said`, with as much of their arguments as is there."""
        return [
            (call, said[start:end])
            for call, (start, end) in zip(self.calls, self.spans, strict=True)
            if len(said) > start
        ]

    def fragments(self, position: int, delta: str) -> list[tuple[int, str, bool]]:
        """(call index, piece of its arguments, whether the call begins) that `delta` at `position` adds."""
        end = position + len(delta)
        found = []
        for i, (start, stop) in enumerate(self.spans):
            low, high = max(start, position), min(stop, end)
            if low < high:
                found.append((i, delta[low - position : high - position], low == start))
        return found


def check_tools(request: ChatRequest, config: ServeConfig, compat: Compat) -> None:
    """vLLM's demand for its flags; raises ApiError."""
    choice = request.tool_choice
    if isinstance(choice, dict) and compat.recent_fields and not config.tool_call_parser:
        name = choice["function"]["name"]
        raise ApiError(f'tool_choice=function "{name}" requires --tool-call-parser to be set')
    if not compat.tool_flags or (not request.tools and choice is None):
        return
    if choice is None or choice == "auto":
        if not (config.enable_auto_tool_choice and config.tool_call_parser):
            raise ApiError(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            )
    elif choice == "required" and not config.tool_call_parser:
        raise ApiError('tool_choice="required" requires --tool-call-parser to be set')


def is_parsed(request: ChatRequest, config: ServeConfig, compat: Compat) -> bool:
    """Whether vLLM's tool parser looks at the answer: named and required calls are read without it."""
    if not (config.enable_auto_tool_choice and config.tool_call_parser and compat.recent_fields):
        return False
    choice = request.tool_choice
    if request.tools and choice in (None, "auto"):
        return True
    without = not request.tools or choice == "none"
    return without and parses_without_tools(config.tool_call_parser, config.reasoning.parser)


def decide_calls(
    request: ChatRequest,
    settings: ToolCallConfig,
    compat: Compat,
    rng: random.Random,
    max_tokens: int | None = None,
) -> SpokenCalls | None:
    """The calls that answer `request`, as far as `max_tokens` lets them be seen; None: text answers it.

    Raises ApiError for a bad schema.
    """
    tools = request.tools
    choice = request.tool_choice
    if not tools or choice == "none":
        return None
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    named = isinstance(choice, dict)
    automatic = not named and choice != "required"
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        if name not in functions:
            raise ApiError(
                f"tool with name '{name}' requested in tool_choice but not found in the tools list"
            )
        chosen = [functions[name]]
    else:
        chosen = _choose(list(functions.values()), automatic, request.parallel_tool_calls, settings, rng)
    if not chosen:
        return None
    values = JsonValues(rng, settings, Budget(max_tokens))
    calls = []
    for function in chosen:
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        arguments = values.object_arguments(schema)
        calls.append(
            ToolCall(_call_id(compat, rng), function["name"], json.dumps(arguments, ensure_ascii=False))
        )
    return _speak(calls, named, automatic)


def _choose(
    functions: Sequence[Mapping[str, Any]],
    automatic: bool,
    parallel: bool | None,
    settings: ToolCallConfig,
    rng: random.Random,
) -> list[Mapping[str, Any]]:
    """Which functions are called: auto may call none, required calls one or, by chance, more."""
    if automatic and rng.random() < 1.0 / (len(functions) + 1):
        return []
    chosen = [rng.choice(functions)]
    while (
        parallel is not False
        and len(chosen) < min(len(functions), _MAX_CALLS)
        and rng.randint(1, 100) <= settings.extra_call_probability
    ):
        chosen.append(rng.choice(functions))
    return chosen


def new_call_id(compat: Compat) -> str:
    """The id of a call that a text was found to be."""
    return _call_id(compat, random.SystemRandom())


def _call_id(compat: Compat, rng: random.Random) -> str:
    if compat.id_style == "uuid":
        return "chatcmpl-tool-" + "".join(rng.choices(string.digits, k=10))
    digits = uuid.UUID(int=rng.getrandbits(128), version=4).hex
    return "chatcmpl-tool-" + (digits[16:] if compat.id_style == "hex16" else digits)


def _speak(calls: list[ToolCall], named: bool, automatic: bool) -> SpokenCalls:
    if named:
        text = calls[0].arguments
        return SpokenCalls(calls, text, [(0, len(text))], named, automatic)
    text = ""
    spans = []
    for i, call in enumerate(calls):
        text += f'{", " if i else "["}{{"name": {json.dumps(call.name)}, "parameters": '
        spans.append((len(text), len(text) + len(call.arguments)))
        text += call.arguments + "}"
    return SpokenCalls(calls, text + "]", spans, named, automatic)


def call_object(call: ToolCall, arguments: str, index: int, compat: Compat) -> dict[str, Any]:
    """A call as an item of `tool_calls` in a whole message."""
    values = {
        "id": call.id,
        "type": "function",
        "index": index,
        "function": {"name": call.name, "arguments": arguments},
    }
    return ordered(compat.tool_call_keys, values)


def call_delta(call: ToolCall, index: int, piece: str, begins: bool) -> dict[str, Any]:
    """A piece of a call as an item of `delta.tool_calls`: id, type and name come with the first."""
    if begins:
        function = {"name": call.name, "arguments": piece}
        return {"id": call.id, "type": "function", "index": index, "function": function}
    return {"index": index, "function": {"arguments": piece}}
