"""The ChatML conversation format, used where a tokenizer brings no template of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

START, END = "<|im_start|>", "<|im_end|>"


def content_text(content: object) -> str:
    """A message's content as text: the text parts of a list joined by newlines, None as ""."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(_part_text(part) for part in content)
    return json.dumps(content, ensure_ascii=False)


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        for key in ("text", "refusal", "thinking", "output"):
            value = part.get(key)
            if isinstance(value, str):
                return value
    return ""


def _body(message: Mapping[str, Any]) -> str:
    text = content_text(message.get("content"))
    calls = message.get("tool_calls")
    if not calls:
        return text
    lines = [text] if text else []
    for call in calls:
        function = call.get("function", {}) if isinstance(call, Mapping) else {}
        lines.append(json.dumps(function, ensure_ascii=False, separators=(", ", ": ")))
    return "\n".join(lines)


def render(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> str:
    """The prompt text; tools stand in a system turn of their own before the conversation."""
    turns = [(str(message.get("role", "user")), _body(message)) for message in messages]
    if tools:
        turns.insert(0, ("system", "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)))
    text = "".join(f"{START}{role}\n{body}{END}\n" for role, body in turns)
    if continue_final_message and turns:
        return text[: -len(END) - 1]
    return f"{text}{START}assistant\n" if add_generation_prompt else text
