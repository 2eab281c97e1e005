"""/v1/messages: Anthropic's Messages API in front of the same conversations, and its token counter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from simulator.server.answers.generation import Generation
from simulator.server.answers.messages import MessagesStream, MessagesUnary
from simulator.server.answers.tools import check_tools
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange, read_body
from simulator.server.requests.anthropic import AnthropicRequest, chat_messages, chat_tools
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.other import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
    AnthropicOutputConfig,
    AnthropicThinkingDisabled,
    AnthropicThinkingEnabled,
)
from simulator.server.requests.prompts import PromptRules, chat_prompt
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, pick_rank, resolve_model
from simulator.server.routes.generate import chat_job
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica

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
    chat = as_chat(request)
    job, calls = chat_job(exchange, chat, replica)
    kind = MessagesStream if request.stream else MessagesUnary
    return kind(job, calls)


@router.post("/v1/messages/count_tokens")
async def count_tokens(replica: Asked, request: Request) -> dict[str, Any]:
    """How many tokens a conversation's prompt has."""
    compat = replica.prepared.compat
    raw = parse_object(await read_body(request, replica), compat)
    wanted = validate(raw, AnthropicCountTokensRequest, compat)
    try:
        count = _count(wanted, replica)
    except ApiError as error:
        error.anthropic = True
        raise
    return {"input_tokens": count, "context_management": {"original_input_tokens": count}}


def _count(wanted: AnthropicCountTokensRequest, replica: Replica) -> int:
    compat = replica.prepared.compat
    resolve_model(replica, wanted.model)
    tools = _tools(wanted)
    choice, _parallel = _tool_choice(wanted, tools is not None)
    chat = ChatRequest(
        messages=chat_messages(wanted),
        tools=tools,
        tool_choice=choice,
        chat_template_kwargs=wanted.chat_template_kwargs,
    )
    check_tools(chat, replica.config, compat)
    rules = PromptRules(replica.config, compat, replica.tokenizer, checks_length=False)
    return len(chat_prompt(chat, rules).token_ids)


def as_chat(request: AnthropicMessagesRequest) -> ChatRequest:
    tools = _tools(request)
    choice, parallel = _tool_choice(request, tools is not None)
    return ChatRequest(
        messages=chat_messages(request),
        model=request.model,
        stream=request.stream,
        max_completion_tokens=request.max_tokens,
        stop=request.stop_sequences,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        cache_salt=request.cache_salt,
        kv_transfer_params=request.kv_transfer_params,
        chat_template_kwargs=request.chat_template_kwargs,
        reasoning_effort="none" if isinstance(request.thinking, AnthropicThinkingDisabled) else None,
        thinking_token_budget=_budget(request),
        response_format=_response_format(request.output_config),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )


def _budget(request: AnthropicMessagesRequest) -> int | None:
    thinking = request.thinking
    return thinking.budget_tokens if isinstance(thinking, AnthropicThinkingEnabled) else None


def _response_format(wanted: AnthropicOutputConfig | None) -> dict[str, Any] | None:
    if wanted is None or wanted.format is None or not wanted.format.json_schema:
        return None
    schema = {"name": wanted.format.type, "schema": wanted.format.json_schema}
    return {"type": wanted.format.type, "json_schema": schema}


def _tool_choice(request: AnthropicRequest, has_tools: bool) -> tuple[str | dict[str, Any] | None, bool]:
    """The choice in chat's form, and whether several calls may be made."""
    chosen = request.tool_choice
    if chosen is None:
        return "auto" if has_tools else None, True
    parallel = not chosen.disable_parallel_tool_use
    if chosen.type == "tool":
        return {"type": "function", "function": {"name": chosen.name or ""}}, parallel
    return {"any": "required", "none": "none", "auto": "auto"}[chosen.type], parallel


def _tools(request: AnthropicRequest) -> list[dict[str, Any]] | None:
    """The tools in chat's form; raises ApiError."""
    try:
        return chat_tools(request)
    except ValueError as error:
        raise ApiError(str(error)) from None
