"""The render routes: a request as /inference/v1/generate takes it, without generating."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from simulator.config.reasoning import chat_template_kwargs
from simulator.engine.sampling_params import SamplingParams
from simulator.server.answers.reasoning import plan_reasoning
from simulator.server.answers.tokens.render import parse_context, rendered, sampling_body, token_offsets
from simulator.server.answers.tools import check_tools
from simulator.server.errors import ApiError
from simulator.server.requests.lean import ChatRequest, CompletionRequest
from simulator.server.requests.other import AnthropicMessagesRequest, ResponsesRequest
from simulator.server.requests.prompts import Prompt, PromptRules, chat_prompt, completion_prompts
from simulator.server.requests.raw_checks import before_chat, before_completion, before_response, known_fields
from simulator.server.requests.sampling import check_prompt_count, max_output, sampling_params
from simulator.server.requests.schema import ChatCompletionRequest as ChatSchema
from simulator.server.requests.schema import CompletionRequest as CompletionSchema
from simulator.server.requests.validation import convert, validate
from simulator.server.routes.gate import resolve_model
from simulator.server.routes.messages import as_chat as messages_as_chat
from simulator.server.routes.responses import as_chat as response_as_chat
from simulator.server.routes.scale_out.common import as_json, body_of
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica


_NO_BEAM = "Beam search is not supported by the render endpoint"
_NO_HISTORY = "previous_response_id is not supported by the stateless render endpoint."
router = APIRouter()


def _request_id(request: Request, given: str | None, replica: Replica) -> str:
    return given or request.headers.get("x-request-id") or replica.prepared.new_id()


@router.post("/v1/completions/render", response_model=None)
async def render_completion(replica: Asked, request: Request) -> Any:
    """One request for each prompt; ApiError where a completion is refused."""
    config, compat = replica.config, replica.prepared.compat
    raw = await body_of(request, replica)
    check_prompt_count(raw.get("prompt"), config, compat)
    known = known_fields(raw, compat, config.strict)
    before_completion(known, compat)
    wanted: CompletionRequest = convert(known, CompletionRequest, CompletionSchema, compat)
    resolve_model(replica, wanted.model)
    if wanted.use_beam_search:
        raise ApiError(_NO_BEAM)
    rules = PromptRules(config, compat, replica.tokenizer)
    if wanted.suffix is not None and not isinstance(wanted.prompt, str):
        message = "suffix requires text prompt input for FIM completion rendering"
        raise ApiError(message, param="suffix")
    prompts = completion_prompts(wanted, rules)
    base = f"cmpl-{_request_id(request, wanted.request_id, replica)}"
    answers = []
    for i, prompt in enumerate(prompts):
        if not prompt.token_ids:
            raise ApiError("No token_ids rendered")
        name = base if len(prompts) == 1 else f"{base}-{i}"
        answers.append(_rendered(replica, wanted, raw, prompt, name))
    return as_json(replica, answers)


@router.post("/v1/chat/completions/render", response_model=None)
async def render_chat(replica: Asked, request: Request) -> Any:
    """The request that a chat comes to; ApiError where a chat is refused."""
    compat = replica.prepared.compat
    raw = await body_of(request, replica)
    known = known_fields(raw, compat, replica.config.strict)
    before_chat(known, compat)
    wanted: ChatRequest = convert(known, ChatRequest, ChatSchema, compat, keep=("messages", "tools"))
    choice = wanted.tool_choice or ("auto" if wanted.tools else "none")
    return as_json(replica, _rendered_chat(replica, request, wanted, raw, choice))


@router.post("/v1/messages/render", response_model=None)
async def render_messages(replica: Asked, request: Request) -> Any:
    """The same of Anthropic's form; ApiError where it is refused."""
    compat = replica.prepared.compat
    raw = await body_of(request, replica)
    wanted = messages_as_chat(validate(raw, AnthropicMessagesRequest, compat))
    return as_json(replica, _rendered_chat(replica, request, wanted, {}, wanted.tool_choice))


@router.post("/v1/responses/render", response_model=None)
async def render_responses(replica: Asked, request: Request) -> Any:
    """The same of OpenAI's newer form, without a history; ApiError for one."""
    config, compat = replica.config, replica.prepared.compat
    raw = await body_of(request, replica)
    wanted = validate(before_response(raw, compat), ResponsesRequest, compat)
    resolve_model(replica, wanted.model)
    if wanted.previous_response_id is not None:
        raise ApiError(_NO_HISTORY, 400, "invalid_request_error", "previous_response_id")
    chat = response_as_chat(wanted, bool(config.enable_auto_tool_choice and config.tool_call_parser))
    given = wanted.request_id if "request_id" in wanted.model_fields_set else None
    name = given or f"resp_{replica.prepared.new_id()}"
    prompt = chat_prompt(chat, PromptRules(config, compat, replica.tokenizer))
    raw = {"vllm_xargs": {}, **raw}
    return as_json(replica, {**_rendered(replica, chat, raw, prompt, name), "stream_options": None})


def _rendered_chat(
    replica: Replica, request: Request, wanted: ChatRequest, raw: dict[str, Any], choice: Any
) -> dict[str, Any]:
    config, compat = replica.config, replica.prepared.compat
    resolve_model(replica, wanted.model)
    if wanted.use_beam_search:
        raise ApiError(_NO_BEAM)
    check_tools(wanted, config, compat)
    prompt = chat_prompt(wanted, PromptRules(config, compat, replica.tokenizer))
    if not prompt.token_ids:
        raise ApiError("No token_ids rendered")
    name = f"chatcmpl-{_request_id(request, wanted.request_id, replica)}"
    kwargs = chat_template_kwargs(
        config.default_chat_template_kwargs, wanted.chat_template_kwargs, wanted.reasoning_effort
    )
    body = _rendered(replica, wanted, raw, prompt, name)
    context = parse_context(wanted, kwargs, choice)
    body["parse_context"] = context
    if config.reasoning.parser is not None:
        body["reasoning_parser_kwargs"] = {"chat_template_kwargs": context["chat_template_kwargs"]}
        reasoning, _ = plan_reasoning(wanted, config, compat, SamplingParams(), prompt.rendered)
        if not wanted.include_reasoning:
            body["reasoning_ended"] = True
        elif wanted.structured_outputs or wanted.response_format:
            body["reasoning_ended"] = not (reasoning is not None and reasoning.thinks)
    return body


def _rendered(
    replica: Replica, wanted: CompletionRequest | ChatRequest, raw: dict[str, Any], prompt: Prompt, name: str
) -> dict[str, Any]:
    config, compat = replica.config, replica.prepared.compat
    length = len(prompt.token_ids)
    most = max_output(wanted, length, config, compat)
    sampling_params(wanted, length, config, compat)  # its refusals
    body = rendered(prompt, wanted, raw, name, sampling_body(wanted, raw, config, most))
    if raw.get("return_token_offsets"):
        shown = prompt if prompt.rendered is None else Prompt(prompt.token_ids, prompt.rendered)
        body["token_offsets"] = token_offsets(shown, replica.tokenizer)
    return body
