"""POST /inference/v1/generate: token ids in, token ids out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response

from simulator.server.answers.generation import Generation
from simulator.server.answers.reasoning import plan_reasoning
from simulator.server.answers.tokens.generate import GenerateStream, GenerateUnary
from simulator.server.answers.tools import SpokenCalls, decide_calls
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange
from simulator.server.requests.lean import ChatRequest, CompletionRequest
from simulator.server.requests.prompts import Prompt, PromptRules, fit
from simulator.server.requests.sampling import sampling_params
from simulator.server.requests.scale_out import (
    GenerateRequest,
)
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, check_open, pick_rank, resolve_model
from simulator.server.routes.generate import job_of
from simulator.server.routes.scale_out.common import check_enabled, parses
from simulator.server.routes.vllm_admin import Asked, abort_by_id

if TYPE_CHECKING:
    from simulator.server.replica import Replica


GENERATE = "/inference/v1/generate"
router = APIRouter()


def prepare_generate(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of a prompt of token ids; raises ApiError."""
    compat = exchange.prepared.compat
    check_enabled(exchange.replica)
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    wanted = validate(raw, GenerateRequest, compat)
    exchange.streaming = bool(wanted.stream)
    replica = exchange.replica = pick_rank(exchange)
    request = _lean(wanted, raw, replica)
    sampling_params(request, len(wanted.token_ids), replica.config, compat)
    model, lora = resolve_model(replica, wanted.model)
    _check_generate(wanted, replica)
    check_open(replica)
    rules = PromptRules(replica.config, compat, replica.tokenizer)
    job = job_of(exchange, request, "generate-tokens-", [fit(Prompt(wanted.token_ids), request, rules)])
    job.model, job.lora = model, lora
    calls = None
    context = wanted.parse_context
    if wanted.reasoning_parser_kwargs is not None or (context is not None and parses(replica)):
        calls = _as_chat_answers(exchange, wanted, job)
    return GenerateStream(job, wanted) if wanted.stream else GenerateUnary(job, wanted, calls)


def _lean(wanted: GenerateRequest, raw: dict[str, Any], replica: Replica) -> CompletionRequest:
    """The request as the engine's other routes know it; without max_tokens it takes what room there is."""
    given = wanted.sampling_params
    limit = replica.config.engine.max_model_len
    room = max(limit - len(wanted.token_ids), 1)
    if "max_tokens" in raw["sampling_params"] and given.max_tokens is not None:
        most = min(given.max_tokens, room)
    else:
        most = min(room, int(replica.config.override_generation_config.get("max_new_tokens", room)))
    fields: dict[str, Any] = given.model_dump(
        by_alias=True, exclude={"detokenize", "extra_args", "stream_interval", "prompt_logprob_token_ids"}
    )
    return msgspec.convert(
        {
            **fields,
            "max_tokens": most,
            "prompt": wanted.token_ids,
            "model": wanted.model,
            "stream": bool(wanted.stream),
            "cache_salt": wanted.cache_salt,
            "priority": wanted.priority,
            "kv_transfer_params": wanted.kv_transfer_params,
            "request_id": wanted.request_id,
        },
        CompletionRequest,
    )


def _check_generate(wanted: GenerateRequest, replica: Replica) -> None:
    """What vLLM looks at before it generates, in its order; raises ApiError."""
    sampling, most = wanted.sampling_params, replica.config.engine.max_num_seqs
    if sampling.n > most:
        raise ApiError(
            f"sampling_params.n must be at most the server's max_num_seqs ({most}), got {sampling.n}."
        )
    if sampling.prompt_logprob_token_ids is not None:
        if wanted.stream:
            raise ApiError("prompt_logprob_token_ids are not available when stream=true.")
        raise ApiError(
            "prompt_logprob_token_ids are scores of a model, which a simulator does not have.",
            501,
            "NotImplementedError",
        )
    if replica.config.tokens_only:
        _check_no_text(wanted)
    if wanted.output_mode == "derender":
        if wanted.stream:
            raise ApiError("output_mode='derender' does not support stream=true.")
        if parses(replica) and wanted.parse_context is None:
            raise ApiError(
                "output_mode='derender' requires parse_context on a server with a tool or reasoning parser. "
                "Use the one returned by /render."
            )


def _check_no_text(wanted: GenerateRequest) -> None:
    if wanted.sampling_params.stop:
        raise ApiError(
            "stop strings are not supported on a --tokens-only server because detokenization is disabled. "
            "Check stop strings on the coordinator, or use stop_token_ids."
        )
    if wanted.output_mode != "tokens":
        raise ApiError(
            f"output_mode={wanted.output_mode!r} requires a tokenizer, but this server does not load one "
            "(--tokens-only or --skip-tokenizer-init). Send the request to a server that loads a tokenizer, "
            "or use output_mode='tokens'."
        )


def _as_chat_answers(exchange: Exchange, wanted: GenerateRequest, job: Any) -> SpokenCalls | None:
    """Let a rendered chat be answered as a chat is: with a thought, or with calls of its tools."""
    replica, compat, context = exchange.replica, exchange.prepared.compat, wanted.parse_context
    said = wanted.reasoning_parser_kwargs or context
    chat = ChatRequest(
        messages=[],
        chat_template_kwargs=None if said is None else said.chat_template_kwargs,
        include_reasoning=context is None or context.include_reasoning,
        thinking_token_budget=wanted.sampling_params.thinking_token_budget,
        tools=context.tools if context is not None else None,
        tool_choice=context.tool_choice if context is not None else None,
        parallel_tool_calls=context is None or context.parallel_tool_calls,
    )
    text = replica.tokenizer.decode(job.prompts[0].token_ids)
    job.reasoning, job.thought = plan_reasoning(chat, replica.config, compat, job.sampling, text)
    rng = exchange.prepared.random_for(job.sampling.seed)
    calls = decide_calls(chat, replica.config.tools, compat, rng, job.sampling.max_tokens)
    if calls is not None:
        job.fixed_outputs = (calls.text,)
    return calls


async def abort(replica: Asked, request: Request) -> Response:
    """End requests by id; ApiError for a body without ids."""
    check_enabled(replica)
    await abort_by_id(request, replica)
    return Response(b"")


router.add_api_route("/inference/v1/abort_requests", abort, methods=["POST"])
