"""/v1/messages: Anthropic's Messages API in front of the same conversations, and its token counter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from simulator.server.answers.generation import Generation
from simulator.server.answers.messages import MessagesStream, MessagesUnary
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange, read_body
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.other import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
    AnthropicThinkingDisabled,
    AnthropicThinkingEnabled,
)
from simulator.server.requests.prompts import PromptRules, chat_prompt
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, pick_rank, resolve_model
from simulator.server.routes.generate import chat_job
from simulator.server.routes.vllm_admin import Asked

router = APIRouter()


def prepare(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of a Messages request; raises ApiError."""
    compat = exchange.prepared.compat
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    request = validate(raw, AnthropicMessagesRequest, compat)
    exchange.streaming = bool(request.stream)
    exchange.anthropic_errors = True
    replica = exchange.replica = pick_rank(exchange)
    chat = _as_chat(request)
    job, calls = chat_job(exchange, chat, replica)
    kind = MessagesStream if request.stream else MessagesUnary
    return kind(job, calls)


@router.post("/v1/messages/count_tokens")
async def count_tokens(replica: Asked, request: Request) -> dict[str, Any]:
    """How many tokens a conversation's prompt has."""
    compat = replica.prepared.compat
    raw = parse_object(await read_body(request, replica), compat)
    wanted = validate(raw, AnthropicCountTokensRequest, compat)
    resolve_model(replica, wanted.model)
    chat = ChatRequest(messages=_messages(wanted), tools=_tools(wanted))
    rules = PromptRules(replica.config, compat, replica.tokenizer, checks_length=False)
    count = len(chat_prompt(chat, rules).token_ids)
    return {"input_tokens": count, "context_management": {"original_input_tokens": count}}


def _as_chat(request: AnthropicMessagesRequest) -> ChatRequest:
    tools = _tools(request)
    choice: str | dict[str, Any] | None = "auto" if tools else None
    parallel = True
    if request.tool_choice is not None:
        kind = request.tool_choice.type
        if kind == "tool":
            choice = {"type": "function", "function": {"name": request.tool_choice.name or ""}}
        elif tools:
            choice = {"any": "required", "none": "none", "auto": "auto"}[kind]
        parallel = not request.tool_choice.disable_parallel_tool_use
    return ChatRequest(
        messages=_messages(request),
        model=request.model,
        stream=request.stream,
        max_tokens=request.max_tokens,
        stop=request.stop_sequences,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        cache_salt=request.cache_salt,
        kv_transfer_params=request.kv_transfer_params,
        chat_template_kwargs=request.chat_template_kwargs,
        reasoning_effort="none" if isinstance(request.thinking, AnthropicThinkingDisabled) else None,
        thinking_token_budget=_budget(request),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )


def _budget(request: AnthropicMessagesRequest) -> int | None:
    thinking = request.thinking
    return thinking.budget_tokens if isinstance(thinking, AnthropicThinkingEnabled) else None


def _tools(request: AnthropicMessagesRequest | AnthropicCountTokensRequest) -> list[dict[str, Any]] | None:
    if not request.tools:
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
            },
        }
        for tool in request.tools
    ]


def _messages(request: AnthropicMessagesRequest | AnthropicCountTokensRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": _text_of(request.system)})
    for message in request.messages:
        if isinstance(message.content, str):
            messages.append({"role": message.role, "content": message.content})
        else:
            messages += _from_blocks(message.role, message.content)
    return messages


def _text_of(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")


def _result_text(block: Mapping[str, Any]) -> str:
    """What a tool said; raises ApiError for content that is neither text nor blocks."""
    content = block.get("content") or ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError("The content of a tool_result must be a string or a list", param="messages")
    return _text_of([part for part in content if isinstance(part, dict)])


def _from_blocks(role: str, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A message of content blocks as chat messages: tool results become messages of their own."""
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            parts.append({"type": "text", "text": block.get("text")})
        elif kind == "tool_use":
            function = {"name": str(block.get("name")), "arguments": json.dumps(block.get("input") or {})}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            text = _result_text(block)
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
        elif kind not in ("thinking", "redacted_thinking"):
            parts.append({"type": "image_url" if kind == "image" else str(kind)})
    message: dict[str, Any] = {"role": role, "content": parts}
    if calls:
        message["tool_calls"] = calls
    return [*results, message] if parts or calls or not results else results
