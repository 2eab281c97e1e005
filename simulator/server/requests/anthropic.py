"""Conversations of Anthropic's Messages API as the messages that a chat has.

The rules are vLLM's: thinking becomes reasoning, tool results become messages of their own, and what Claude
Code says of its billing is left out, as it differs from request to request.
"""

from __future__ import annotations

import json
from typing import Any

from simulator.server.requests.other import (
    AnthropicContentBlock,
    AnthropicCountTokensRequest,
    AnthropicMessage,
    AnthropicMessagesRequest,
    AnthropicTool,
    AnthropicToolChangeDefinition,
)

AnthropicRequest = AnthropicMessagesRequest | AnthropicCountTokensRequest
Message = dict[str, Any]
_BILLING = "x-anthropic-billing-header"


def chat_messages(request: AnthropicRequest) -> list[Message]:
    """The messages of `request`, its system prompt first."""
    messages: list[Message] = []
    system = _system_text(request.system, is_whole=True)
    if system:
        messages.append({"role": "system", "content": system})
    for message in request.messages:
        if message.role == "system":
            text = _system_text(message.content)
            if text:
                messages.append({"role": "system", "content": text})
        elif isinstance(message.content, str):
            messages.append({"role": message.role, "content": message.content})
        else:
            messages += _from_blocks(message)
    return messages


def chat_tools(request: AnthropicRequest) -> list[dict[str, Any]] | None:
    """The tools in effect at the end of the conversation; None: it has none.

    A message may add tools and take them away. ValueError for a change of one that nobody has declared.
    """
    changes = [
        block
        for message in request.messages
        if not isinstance(message.content, str)
        for block in message.content
        if block.type in ("tool_addition", "tool_removal")
    ]
    if request.tools is None and not changes:
        return None
    tools = {tool.name: tool for tool in request.tools or ()}
    for block in changes:
        assert block.tool is not None
        if isinstance(block.tool, AnthropicToolChangeDefinition):
            name = block.tool.definition.name
            tools[name] = block.tool.definition
        else:
            name = block.tool.name
        if name not in tools:
            raise ValueError(f"{block.type} references tool {name!r}, which is not declared in tools")
        if block.type == "tool_removal":
            tools.pop(name, None)
    return [_chat_tool(tool) for tool in tools.values()]


def _chat_tool(tool: AnthropicTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def _system_text(content: str | list[AnthropicContentBlock] | None, *, is_whole: bool = False) -> str:
    """The text of a system message; `is_whole`: the request's own, whose plain text is never left out."""
    if content is None or isinstance(content, str):
        text = content or ""
        return "" if text.startswith(_BILLING) and not is_whole else text
    parts = [block.text for block in content if block.type == "text" and block.text]
    return "".join(part for part in parts if not part.startswith(_BILLING))


def _from_blocks(message: AnthropicMessage) -> list[Message]:
    before: list[Message] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for block in message.content:
        assert isinstance(block, AnthropicContentBlock)
        if block.type == "text" and block.text:
            parts.append({"type": "text", "text": block.text})
        elif block.type == "image" and block.source:
            parts.append({"type": "image_url", "image_url": {"url": _image_url(block.source)}})
        elif block.type == "thinking" and block.thinking is not None:
            thoughts.append(block.thinking)
        elif block.type == "tool_use":
            calls.append(_tool_call(block))
        elif block.type == "tool_result":
            if message.role == "user":
                before += _tool_result(block)
            else:
                parts.append({"type": "text", "text": f"Tool result: {block.content or ''}"})
    told = _told(message.role, thoughts, calls, parts)
    return before if message.role == "user" and not parts else [*before, told]


def _told(
    role: str, thoughts: list[str], calls: list[dict[str, Any]], parts: list[dict[str, Any]]
) -> Message:
    """One message of a chat, with the keys that it has something for."""
    told: Message = {"role": role}
    if thoughts:
        told["reasoning"] = "".join(thoughts)
    if calls:
        told["tool_calls"] = calls
    if parts:
        is_text = len(parts) == 1 and parts[0]["type"] == "text"
        told["content"] = parts[0]["text"] if is_text else parts
    return told


def _tool_call(block: AnthropicContentBlock) -> dict[str, Any]:
    function = {"name": block.name or "", "arguments": json.dumps(block.input or {})}
    return {"id": block.id or "call_0", "type": "function", "function": function}


def _tool_result(block: AnthropicContentBlock) -> list[Message]:
    """What a tool said: its text, then its pictures as a message of the user."""
    content = block.content
    if content is None or isinstance(content, str):
        return [{"role": "tool", "tool_call_id": block.tool_use_id or "", "content": content or ""}]
    texts = [str(part.get("text", "")) for part in content if part.get("type") == "text"]
    messages: list[Message] = [
        {"role": "tool", "tool_call_id": block.tool_use_id or "", "content": "\n".join(texts)}
    ]
    sources = [part.get("source") for part in content if part.get("type") == "image"]
    urls = [_image_url(source) for source in sources if isinstance(source, dict)]
    if urls:
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        messages.append({"role": "user", "content": images})
    return messages


def _image_url(source: dict[str, Any]) -> str:
    if source.get("type") == "url":
        return str(source.get("url", ""))
    return f"data:{source.get('media_type', 'image/jpeg')};base64,{source.get('data', '')}"
