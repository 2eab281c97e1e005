"""/v1/responses: OpenAI's Responses API, as vLLM answers it with its store switched off.

Input items become a conversation, the conversation runs as a chat would, and its outcome is told as output
items.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from simulator.server.answers.generation import Generation
from simulator.server.answers.responses import ResponsesStream, ResponsesUnary
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.other import ResponsesRequest
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, pick_rank
from simulator.server.routes.generate import chat_job

router = APIRouter()


def prepare(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of a Responses request; raises ApiError."""
    compat = exchange.front.compat
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    request = validate(raw, ResponsesRequest, compat)
    if request.background and not request.store:
        raise ApiError("background can only be used when `store` is true", param="background")
    if request.previous_response_id is not None:
        raise not_found(request.previous_response_id)
    exchange.streaming = bool(request.stream)
    replica = exchange.replica = pick_rank(exchange)
    chat = _as_chat(request)
    job, calls = chat_job(exchange, chat, replica, "resp_")
    kind = ResponsesStream if request.stream else ResponsesUnary
    return kind(job, request, calls)


def not_found(response_id: str) -> ApiError:
    """There is no store, so no earlier response can be found."""
    return ApiError(f"Response with id '{response_id}' not found.", 404, "invalid_request_error")


@router.get("/v1/responses/{response_id}")
async def retrieve_responses(response_id: str) -> None:
    """Never finds one: nothing is stored."""
    raise not_found(response_id)


@router.post("/v1/responses/{response_id}/cancel")
async def cancel_responses(response_id: str) -> None:
    """Never finds one: nothing is stored."""
    raise not_found(response_id)


def _as_chat(request: ResponsesRequest) -> ChatRequest:
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        messages += [_message(item) for item in request.input]
    tools = [_tool(tool) for tool in request.tools if tool.get("type", "function") == "function"]
    return ChatRequest(
        messages=messages,
        model=request.model,
        stream=request.stream,
        max_tokens=request.max_output_tokens,
        seed=request.seed,
        stop=request.stop or None,
        stop_token_ids=request.stop_token_ids,
        include_stop_str_in_output=request.include_stop_str_in_output,
        ignore_eos=request.ignore_eos,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        priority=request.priority,
        request_id=request.request_id,
        cache_salt=request.cache_salt,
        kv_transfer_params=request.kv_transfer_params,
        response_format=_text_format(request.text),
        tools=tools or None,
        tool_choice=_tool_choice(request.tool_choice) if tools else None,
        parallel_tool_calls=request.parallel_tool_calls,
    )


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """An input item as a message."""
    kind = item.get("type", "message")
    if kind == "function_call":
        function = {"name": str(item.get("name")), "arguments": item.get("arguments") or "{}"}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        output = item.get("output")
        if not isinstance(output, str | list):
            raise ApiError("function_call_output.output must be a string or a list", param="input")
        _check_parts(output)
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    if kind == "reasoning":
        return {"role": "assistant", "content": ""}
    role, content = item.get("role"), item.get("content")
    if kind != "message" or not isinstance(role, str) or not isinstance(content, str | list):
        raise ApiError(f"An input item of type {kind!r} must have a role and content", param="input")
    _check_parts(content)
    return {"role": role, "content": content}


def _check_parts(content: str | list[Any]) -> None:
    """Raises ApiError where a list holds anything but parts, as `chat_prompt` reads them."""
    if isinstance(content, list) and not all(isinstance(part, str | dict) for part in content):
        raise ApiError("The parts of an input item's content must be objects", param="input")


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool in chat's form, from the flat or the nested one."""
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ApiError("A function tool must have a name", param="tools")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise ApiError("The parameters of a function tool must be a JSON schema", param="tools")
    described = {
        "name": function["name"],
        "description": function.get("description"),
        "parameters": parameters,
    }
    return {"type": "function", "function": described}


def _tool_choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise ApiError(f"Unknown tool_choice {choice!r}", param="tool_choice")
        return choice
    name = choice.get("name") or (choice.get("function") or {}).get("name")
    if not isinstance(name, str):
        raise ApiError("tool_choice must name a function", param="tool_choice")
    return {"type": "function", "function": {"name": name}}


def _text_format(text: dict[str, Any] | None) -> dict[str, Any] | None:
    """`text.format` as a chat's response_format."""
    wanted = (text or {}).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    if wanted["type"] == "json_schema":
        return {"type": "json_schema", "json_schema": wanted}
    return {"type": "json_object"}
