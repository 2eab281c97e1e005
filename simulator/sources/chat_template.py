"""Renders Hugging Face chat templates: jinja2 in a sandbox, with what templates expect to find there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from simulator.engine.text.chatml import content_text
from simulator.errors import EngineError

# a template that walks over a message's content wants its parts, not one string (vLLM's "openai" format)
_WALKS_CONTENT = re.compile(r"for\s+\w+\s+in\s+\w+(\.content|\[['\"]content['\"]\])")


class _Generation(Extension):
    """{% generation %} marks the assistant's text for training; for a prompt it is transparent."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it as a plain attribute

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_inner"), [], [], body).set_lineno(line)

    def _inner(self, caller: Any) -> str:
        return str(caller())


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


@lru_cache(maxsize=64)
def _compile(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def _message(message: Mapping[str, Any], as_parts: bool) -> dict[str, Any]:
    content = message.get("content")
    calls = message.get("tool_calls")
    if calls:
        message = {**message, "tool_calls": [_call(call) for call in calls]}
    if not as_parts:
        return {**message, "content": content_text(content)}
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return {**message, "content": content or []}


def _call(call: Any) -> Any:
    """A tool call whose arguments are an object, as templates expect them; the API carries them as text."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError as error:
        raise EngineError(f"the arguments of a tool call are not JSON: {error}") from error
    return {**call, "function": {**function, "arguments": arguments}}


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    template_kwargs: Mapping[str, Any] | None = None,
) -> str:
    """The prompt text. Raises EngineError where the template is broken or refuses the conversation."""
    as_parts = _WALKS_CONTENT.search(template) is not None
    try:
        text = _compile(template).render(
            {
                "documents": None,
                **(template_kwargs or {}),
                "messages": [_message(message, as_parts) for message in messages],
                "tools": list(tools) if tools else None,
                "add_generation_prompt": add_generation_prompt and not continue_final_message,
            }
        )
    except jinja2.TemplateError as error:
        raise EngineError(f"chat template: {error.message or type(error).__name__}") from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:  # raised inside the template's code
        raise EngineError(f"chat template: {error}") from error
    if continue_final_message and messages:
        return _cut_after(text, content_text(messages[-1].get("content")).strip())
    return text


def _cut_after(text: str, final: str) -> str:
    at = text.rfind(final)
    if at < 0:
        raise EngineError("continue_final_message: the chat template does not end with the last message")
    return text[: at + len(final)]
