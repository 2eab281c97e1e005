"""/v1/responses: OpenAI's Responses API, as vLLM answers it.

Input items become a conversation, the conversation runs as a chat would, and its outcome is told as output
items. With VLLM_ENABLE_RESPONSES_API_STORE responses are kept, and may come about in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from simulator.server.answers.generation import Generation, Job
from simulator.server.answers.kept.store import ResponseStore, Stored
from simulator.server.answers.kept.stored import Following, KeptWriter, StoredStream, StoredUnary
from simulator.server.answers.responses import ResponsesStream, ResponsesUnary, queued
from simulator.server.answers.tools import SpokenCalls
from simulator.server.errors import ApiError, invalid
from simulator.server.http.exchange import Exchange
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.other import ResponsesRequest
from simulator.server.requests.raw_checks import before_response
from simulator.server.requests.responses_types import (
    FunctionTool,
    ResponseFormatJSONObject,
    ResponseFormatTextJSONSchemaConfig,
    ResponseTextConfig,
    ToolChoice,
    ToolChoiceFunction,
)
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, pick_rank, resolve_model
from simulator.server.routes.generate import chat_job
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.http.writer import Writer
    from simulator.server.replica import Replica

router = APIRouter()
_NO_STORE = (
    "This vLLM engine does not support `store=True` and therefore does not support the background mode. To "
    "enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching "
    "the vLLM server."
)
_NEVER_NULL = {
    "parallel_tool_calls": ("a valid boolean", "bool_type"),
    "background": ("a valid boolean", "bool_type"),
    "truncation": ("'auto' or 'disabled'", "literal_error"),
}
_ONE_HISTORY = "Only one of `previous_input_messages` and `previous_response_id` can be set."


def prepare(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of a Responses request; raises ApiError."""
    compat = exchange.prepared.compat
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    request = validate(before_response(raw, compat), ResponsesRequest, compat)
    resolve_model(exchange.replica, request.model)
    store = exchange.prepared.responses
    if request.background and request.store and store is None:
        raise ApiError(_NO_STORE, 400, "invalid_request_error", "background")
    earlier = _earlier(request, store)
    _check_echoes(request)
    exchange.streaming = bool(request.stream)
    replica = exchange.replica = pick_rank(exchange)
    config = replica.config
    chat = as_chat(request, bool(config.enable_auto_tool_choice and config.tool_call_parser))
    if "request_id" not in request.model_fields_set:
        chat.request_id = f"resp_{exchange.prepared.new_id()}"
    if earlier is not None:
        chat.messages = [*_history(chat.messages, earlier)]
    in_background = store is not None and bool(request.background)
    working = exchange
    if in_background:
        working = Exchange(exchange.incoming, exchange.writer, replica)
    job, calls = chat_job(working, chat, replica, "")
    if store is None or not request.store:
        kind = ResponsesStream if request.stream else ResponsesUnary
        return kind(job, request, calls)
    return _stored(exchange, job, request, calls, chat.messages)


def _stored(
    exchange: Exchange,
    job: Job,
    request: ResponsesRequest,
    calls: SpokenCalls | None,
    messages: list[dict[str, Any]],
) -> Generation:
    """A Generation whose response is kept; in the background it has a client only for its first answer."""
    store = exchange.prepared.responses
    assert store is not None
    if request.background:
        stored = Stored({}, messages)
        stored.events = [] if request.stream else None
        job.exchange.writer = cast("Writer", KeptWriter(stored, exchange.writer.rounds))
        work = (ResponsesStream if request.stream else ResponsesUnary)(job, request, calls)
        stored.response, stored.cancel = queued(work), work.abort
        store.put(stored)
        return Following(exchange, job, work, stored)
    kept = StoredStream if request.stream else StoredUnary
    return kept(job, request, calls, lambda response: store.put(Stored(response, messages)))


def _earlier(request: ResponsesRequest, store: ResponseStore | None) -> Stored | None:
    """The kept response that `request` continues; raises ApiError for one that is not there."""
    if request.previous_input_messages and request.previous_response_id:
        raise ApiError(_ONE_HISTORY, 400, "invalid_request_error", "previous_response_id")
    if request.previous_response_id is None:
        return None
    earlier = None if store is None else store.get(request.previous_response_id)
    if earlier is None:
        raise not_found(request.previous_response_id)
    return earlier


def _history(messages: list[dict[str, Any]], earlier: Stored) -> Iterator[dict[str, Any]]:
    """The instructions, the conversation so far with what was answered, then what is new."""
    first = messages[:1] if messages and messages[0].get("role") == "system" else []
    yield from first
    yield from (message for message in earlier.messages if message.get("role") != "system")
    for item in earlier.response["output"]:
        for part in item.get("content") or () if item["type"] == "message" else ():
            yield {"role": "assistant", "content": part["text"]}
    yield from messages[len(first) :]


def _check_echoes(request: ResponsesRequest) -> None:
    """Fields that may be null in a request and not in the response that tells them again; raises ApiError."""
    wrong = [field for field in _NEVER_NULL if getattr(request, field) is None]
    if not wrong or request.stream:
        return
    lines = [f"{len(wrong)} validation error{'s' if len(wrong) > 1 else ''} for ResponsesResponse"]
    for field in wrong:
        words, kind = _NEVER_NULL[field]
        lines.append(
            f"{field}\n  Input should be {words} [type={kind}, input_value=None, input_type=NoneType]"
        )
        lines.append(f"    For further information visit https://errors.pydantic.dev/2.14/v/{kind}")
    raise ApiError("\n".join(lines))


def not_found(response_id: str) -> ApiError:
    """There is no store, so no earlier response can be found."""
    message = f"Response with id '{response_id}' not found."
    return ApiError(message, 404, "invalid_request_error", "response_id")


@router.get("/v1/responses/{response_id}", response_model=None)
async def retrieve_responses(
    replica: Asked, response_id: str, starting_after: int | None = None, stream: bool | None = False
) -> Response:
    """A stored response, or its events from one on; ApiError 404."""
    stored = _find(replica, response_id)
    if not stream:
        return Response(replica.prepared.encode(stored.response), media_type="application/json")
    if stored.events is None:
        message = f"Unknown response_id: {response_id}"
        raise invalid(replica.prepared.compat, message, "response_id", response_id)
    events = _events(stored, 0 if starting_after is None else starting_after + 1)
    return StreamingResponse(events, media_type="text/event-stream")


async def _events(stored: Stored, position: int) -> AsyncIterator[bytes]:
    news = asyncio.Event()
    stored.readers.add(news.set)
    try:
        while True:
            events = stored.events or []
            data, position = b"".join(events[position:]), max(position, len(events))
            if data:
                yield data
            if stored.is_over:
                return
            await news.wait()
            news.clear()
    finally:
        stored.readers.discard(news.set)


def _find(replica: Replica, response_id: str) -> Stored:
    store = replica.prepared.responses
    stored = None if store is None else store.get(response_id)
    if stored is None:
        raise not_found(response_id)
    return stored


@router.post("/v1/responses/{response_id}/cancel")
async def cancel_responses(replica: Asked, response_id: str) -> dict[str, Any]:
    """End a response in the background; ApiError where there is none, or it is finished."""
    stored = _find(replica, response_id)
    if not stored.is_open:
        raise ApiError("Cannot cancel a synchronous response.", 400, "invalid_request_error", "response_id")
    stored.response["status"] = "cancelled"
    if stored.cancel is not None:
        stored.cancel()
    stored.fail()
    return stored.response


class _Conversation(ChatRequest, kw_only=True):
    """A chat made of a Responses request."""

    @property
    def max_tokens_name(self) -> str:
        return "max_output_tokens"


def as_chat(request: ResponsesRequest, automatic: bool) -> ChatRequest:
    """The conversation of `request`; without `automatic` nobody calls a tool unless it is demanded."""
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        messages += [_message(item) for item in request.input]
    tools = [_tool(tool) for tool in request.tools if isinstance(tool, FunctionTool)]
    choice = _tool_choice(request.tool_choice) if tools else None
    if choice == "auto" and not automatic:
        choice = "none"
    with_logprobs = request.include is not None and "message.output_text.logprobs" in request.include
    return _Conversation(
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
        structured_outputs=_constraint(request),
        logprobs=with_logprobs,
        top_logprobs=request.top_logprobs if with_logprobs else None,
        logit_bias=request.logit_bias,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        mm_processor_kwargs=request.mm_processor_kwargs,
        media_io_kwargs=request.media_io_kwargs,
        truncate_prompt_tokens=-1 if request.truncation == "auto" else None,
        chat_template_kwargs=request.chat_template_kwargs,
        reasoning_effort=None if request.reasoning is None else request.reasoning.effort,
        include_reasoning=request.include_reasoning,
        tools=tools or None,
        tool_choice=choice,
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
    if kind != "message":
        raise ApiError(f"Unsupported input item type: {kind} (parameter=input)", param="input")
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise ApiError(f"An input item of type {kind!r} must have a role and content", param="input")
    _check_parts(content)
    return {"role": role, "content": content}


def _check_parts(content: str | list[Any]) -> None:
    """Raises ApiError where a list holds anything but parts, as `chat_prompt` reads them."""
    if isinstance(content, list) and not all(isinstance(part, str | dict) for part in content):
        raise ApiError("The parts of an input item's content must be objects", param="input")


def _tool(tool: FunctionTool) -> dict[str, Any]:
    """A tool in chat's form."""
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": described}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """The choice in chat's form; of one among the tools that nobody runs here nothing follows."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, ToolChoiceFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return "none"


def _constraint(request: ResponsesRequest) -> dict[str, Any] | None:
    wanted = request.structured_outputs
    if wanted is None:
        return None
    if request.text is not None and request.text.format is not None:
        message = "Cannot specify both structured_outputs and text.format (parameter=structured_outputs)"
        raise ApiError(message, param="structured_outputs")
    return wanted.model_dump(by_alias=True, exclude_none=True)


def _text_format(text: ResponseTextConfig | None) -> dict[str, Any] | None:
    """`text.format` as a chat's response_format."""
    wanted = None if text is None else text.format
    if isinstance(wanted, ResponseFormatJSONObject):
        return {"type": "json_object"}
    if isinstance(wanted, ResponseFormatTextJSONSchemaConfig):
        return {"type": "json_schema", "json_schema": wanted.model_dump(by_alias=True)}
    return None
