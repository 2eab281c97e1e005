"""The derender routes: token ids made into answers of chats and completions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter

from simulator.engine.sampling_params import SamplingParams
from simulator.server.answers.reasoning import plan_reasoning
from simulator.server.answers.tokens.derender import Reading, replayed
from simulator.server.errors import ApiError
from simulator.server.prepared import ordered
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.scale_out import (
    DerenderChatRequest,
    DerenderChatStreamRequest,
    DerenderCompletionRequest,
    DerenderCompletionStreamRequest,
    DerenderStreamState,
    GenerateChoice,
    GenerateChunk,
    GenerateResponse,
    GenerateStreamChoice,
)
from simulator.server.requests.schema import ChatCompletionRequest as ChatSchema
from simulator.server.requests.schema import CompletionRequest as CompletionSchema
from simulator.server.requests.validation import validate_union
from simulator.server.routes.gate import resolve_model
from simulator.server.routes.scale_out.common import as_json, body_of, parses
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica


_STREAM_STOPS = (
    "stop strings are not supported by streaming derender because text already sent cannot be cut. Use "
    "non-streaming derender or output_mode=text on /inference/v1/generate which holds stop strings back."
)
_CHAT_NEEDED = (
    "chat_request is required when a tool or reasoning parser is configured because plain detokenization "
    "would leak raw parser markup into content."
)
_PROMPT_NEEDED = (
    "prompt_token_ids is required when a tool or reasoning parser is configured. Without it parse_delta "
    "cannot tell whether the prompt left reasoning open (e.g. a chat template that pre-opens <think>) and "
    "would misclassify reasoning content as plain content."
)
_DERENDER_CHAT: TypeAdapter[DerenderChatRequest | DerenderChatStreamRequest] = TypeAdapter(
    DerenderChatRequest | DerenderChatStreamRequest
)
_DERENDER_COMPLETION: TypeAdapter[DerenderCompletionRequest | DerenderCompletionStreamRequest] = TypeAdapter(
    DerenderCompletionRequest | DerenderCompletionStreamRequest
)
_CHUNK_CHOICE = ("index", "logprobs", "finish_reason", "stop_reason", "token_ids", "weight_versions")
router = APIRouter()


@router.post("/v1/chat/completions/derender", response_model=None)
async def derender_chat(replica: Asked, request: Request) -> Any:
    """A chat's answer, or one event of it; ApiError for ids beyond what the server's own would be."""
    compat = replica.prepared.compat
    wanted = validate_union(await body_of(request, replica), _DERENDER_CHAT, compat, named=True)
    resolve_model(replica, wanted.model)
    if isinstance(wanted, DerenderChatStreamRequest):
        return as_json(replica, _chat_chunk(replica, wanted))
    answer = wanted.generate_response
    _check_bounds(replica, [answer])
    _check_prompt(replica, wanted.prompt_token_ids)
    reading = _reading(replica, wanted.chat_request, wanted.prompt_token_ids or answer.prompt_token_ids)
    asked = wanted.chat_request
    choices = [_chat_choice(reading, choice, asked) for choice in answer.choices]
    more: dict[str, Any] = {"prompt_logprobs": answer.prompt_logprobs}
    if asked is not None and asked.return_token_ids:
        more["prompt_token_ids"] = answer.prompt_token_ids
    count = sum(len(choice.token_ids or ()) for choice in answer.choices)
    body = _whole(replica, answer, choices, wanted.prompt_tokens or 0, count)
    body |= {"object": "chat.completion", "model": wanted.model or body["model"], **more}
    return as_json(replica, ordered(compat.bodies.chat, body, compat.bodies.optional))


def _most(asked: ChatSchema | None) -> int | None:
    """How many alternatives a chat shows; None: all that there are."""
    if asked is None or not asked.logprobs or asked.top_logprobs == -1:
        return None
    return asked.top_logprobs or 0


def _chat_choice(reading: Reading, choice: GenerateChoice, asked: ChatSchema | None) -> dict[str, Any]:
    if not choice.token_ids:
        raise ApiError(f"choice {choice.index} has empty or null token_ids")
    text, stop = reading.text(choice.token_ids, choice.finish_reason, choice.stop_reason)
    message = reading.message(text)
    values: dict[str, Any] = {
        "index": choice.index,
        "message": message,
        "finish_reason": "tool_calls" if message.get("tool_calls") else choice.finish_reason,
        "stop_reason": stop,
    }
    _tell(reading, choice, asked, values)
    return ordered(reading.compat.bodies.chat_choice, values, reading.compat.bodies.optional)


def _tell(
    reading: Reading,
    choice: GenerateChoice | GenerateStreamChoice,
    asked: ChatSchema | None,
    values: dict[str, Any],
    before: Sequence[int] = (),
) -> None:
    """Add what is told of single tokens, where nothing is to be kept back."""
    if reading.hides:
        return
    if choice.logprobs is not None:
        values["logprobs"] = reading.logprobs(choice.logprobs, before, _most(asked))
    if asked is not None and asked.return_token_ids:
        values["token_ids"] = choice.token_ids


@router.post("/v1/completions/derender", response_model=None)
async def derender_completion(replica: Asked, request: Request) -> Any:
    """The same for completions, whose answers are one for each prompt; ApiError in the same cases."""
    compat = replica.prepared.compat
    wanted = validate_union(await body_of(request, replica), _DERENDER_COMPLETION, compat, named=True)
    resolve_model(replica, wanted.model)
    if isinstance(wanted, DerenderCompletionStreamRequest):
        return as_json(replica, _completion_chunk(replica, wanted))
    answers = wanted.generate_responses
    if not answers:
        raise ApiError("generate_responses must not be empty")
    _check_bounds(replica, answers)
    for ids in wanted.prompt_token_ids or ():
        _check_prompt(replica, ids)
    asked = wanted.completion_request
    reading = Reading(replica.tokenizer, compat, asked)
    choices: list[dict[str, Any]] = []
    for answer in answers:
        choices += _completion_choices(reading, answer, len(choices))
    count = sum(len(choice.token_ids or ()) for answer in answers for choice in answer.choices)
    body = _whole(replica, answers[0], choices, sum(wanted.prompt_tokens or ()), count)
    body |= {"object": "text_completion", "model": wanted.model or body["model"]}
    if any(answer.kv_transfer_params != answers[0].kv_transfer_params for answer in answers):
        body["kv_transfer_params"] = None
    if len(answers) > 1:
        body["metrics"] = None
    return as_json(replica, ordered(compat.bodies.completion, body, compat.bodies.optional))


def _completion_choices(reading: Reading, answer: GenerateResponse, first: int) -> list[dict[str, Any]]:
    asked = reading.request
    told = asked is not None and bool(asked.return_token_ids)
    most = asked.logprobs if isinstance(asked, CompletionSchema) else None
    made: list[dict[str, Any]] = []
    for choice in answer.choices:
        if not choice.token_ids:
            name = f"choice {choice.index} in response {answer.request_id}"
            raise ApiError(f"{name} has empty or null token_ids")
        text, stop = reading.text(choice.token_ids, choice.finish_reason, choice.stop_reason)
        values: dict[str, Any] = {
            "index": first + len(made),
            "text": text,
            "finish_reason": choice.finish_reason,
            "stop_reason": stop,
        }
        if choice.logprobs is not None:
            resolved = reading.logprobs(choice.logprobs, most=most)
            values["logprobs"] = reading.completion_logprobs(choice.logprobs, resolved, 0)
        if told:
            values |= {"token_ids": choice.token_ids, "prompt_token_ids": answer.prompt_token_ids}
        made.append(ordered(reading.compat.bodies.completion_choice, values, reading.compat.bodies.optional))
    return made


def _whole(
    replica: Replica, answer: GenerateResponse, choices: list[Any], prompt: int, count: int
) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "total_tokens": prompt + count, "completion_tokens": count}
    return {
        "id": answer.request_id or replica.prepared.new_id(),
        "created": int(time.time()),
        "model": replica.prepared.served[0],
        "choices": choices,
        "usage": ordered(replica.prepared.compat.bodies.usage, usage),
        "kv_transfer_params": answer.kv_transfer_params,
        "metrics": answer.metrics,
    }


def _reading(replica: Replica, asked: ChatSchema | None, prompt: list[int] | None) -> Reading:
    """How a chat's ids are read; raises ApiError where a parser would have to guess."""
    config, compat = replica.config, replica.prepared.compat
    if not parses(replica):
        return Reading(replica.tokenizer, compat, asked)
    if asked is None:
        raise ApiError(_CHAT_NEEDED)
    chat = ChatRequest(
        messages=[],
        chat_template_kwargs=asked.chat_template_kwargs,
        reasoning_effort=asked.reasoning_effort,
        include_reasoning=asked.include_reasoning,
    )
    text = replica.tokenizer.decode(prompt) if prompt else None
    reasoning, _ = plan_reasoning(chat, config, compat, SamplingParams(), text)
    return Reading(replica.tokenizer, compat, asked, reasoning, parses=True)


def _check_bounds(replica: Replica, answers: list[GenerateResponse]) -> None:
    """Raises ApiError for more than a server of this context would have answered."""
    config = replica.config
    limit, most_n, most_top = config.engine.max_model_len, config.max_n_sequences, config.max_logprobs
    if len(answers) > most_n:
        raise ApiError(
            f"generate_responses count ({len(answers)}) exceeds server maximum ({most_n}). "
            "Set VLLM_MAX_N_SEQUENCES to increase this limit."
        )
    for answer in answers:
        of = f"in response '{answer.request_id}' exceeds"
        if len(answer.choices) > most_n:
            raise ApiError(f"choices count ({len(answer.choices)}) {of} server maximum ({most_n}).")
        for choice in answer.choices:
            _check_choice(choice, limit, most_top)
        if len(answer.prompt_logprobs or ()) > limit:
            size = len(answer.prompt_logprobs or ())
            raise ApiError(f"prompt_logprobs length ({size}) {of} max_model_len ({limit}).")


def _check_choice(choice: GenerateChoice, limit: int, most_top: int) -> None:
    where = f"in choice {choice.index} exceeds"
    entries = (choice.logprobs.content if choice.logprobs else None) or ()
    for name, size in (("token_ids", len(choice.token_ids or ())), ("logprobs.content", len(entries))):
        if size > limit:
            raise ApiError(f"{name} length ({size}) {where} max_model_len ({limit}).")
    top = next((len(e.top_logprobs) for e in entries if len(e.top_logprobs) > most_top >= 0), None)
    if top is not None:
        raise ApiError(f"top_logprobs count ({top}) {where} max_logprobs ({most_top}).")


def _check_prompt(replica: Replica, ids: list[int] | None) -> None:
    limit = replica.config.engine.max_model_len
    if ids is not None and len(ids) > limit:
        raise ApiError(f"prompt_token_ids length ({len(ids)}) exceeds max_model_len ({limit}).")


def _chat_chunk(replica: Replica, wanted: DerenderChatStreamRequest) -> dict[str, Any]:
    asked, chunk = wanted.chat_request, wanted.generate_chunk
    if asked is not None and asked.stop:
        raise ApiError(_STREAM_STOPS)
    reading = _reading(replica, asked, wanted.prompt_token_ids)
    if reading.parses and wanted.prompt_token_ids is None:
        raise ApiError(_PROMPT_NEEDED)
    if len(chunk.choices) > 1:
        count = len(chunk.choices)
        raise ApiError(f"derender_chat_stream expects at most one choice per chunk (got {count}).")
    state = wanted.stream_state or DerenderStreamState()
    _check_stream_bounds(replica, wanted, state)
    choices = [_chat_delta(reading, choice, asked, state) for choice in chunk.choices]
    body = _chunk(replica, wanted, "chat.completion.chunk", choices)
    told = asked is not None and asked.return_token_ids
    body["prompt_token_ids"] = chunk.prompt_token_ids if told else None
    body["prompt_text"] = None
    keys = (*_CHUNK_HEAD, "prompt_token_ids", "prompt_text", "metrics", "kv_transfer_params")
    return {"chunk": ordered(keys, body), "stream_state": state.model_dump()}


def _chat_delta(
    reading: Reading, choice: GenerateStreamChoice, asked: ChatSchema | None, state: DerenderStreamState
) -> dict[str, Any]:
    """The choice of one event; `state` moves on."""
    ids = choice.token_ids or []
    said, stop = reading.without_stop(ids, choice.finish_reason, choice.stop_reason)
    before = list(state.logprob_context_token_ids)
    if reading.parses:
        delta = replayed(reading, state, said, choice.finish_reason is not None)
    else:
        role = None if state.role_sent else "assistant"
        delta = {"role": role, "content": reading.delta(said, state) or None, "reasoning": None}
    state.role_sent = True
    values: dict[str, Any] = {"index": choice.index, "delta": delta, "stop_reason": stop}
    called = state.tools_streamed and choice.finish_reason is not None
    values["finish_reason"] = "tool_calls" if called else choice.finish_reason
    _tell(reading, choice, asked, values, before)
    state.logprob_context_token_ids = [*before, *ids][-4:]
    return ordered(("index", "delta", *_CHUNK_CHOICE[1:]), values)


_CHUNK_HEAD = ("id", "object", "created", "model", "choices", "usage", "system_fingerprint")


def _check_stream_bounds(
    replica: Replica, wanted: DerenderChatStreamRequest, state: DerenderStreamState
) -> None:
    prompt, prior = len(wanted.prompt_token_ids or ()), len(state.output_token_ids)
    new = sum(len(choice.token_ids or ()) for choice in wanted.generate_chunk.choices)
    limit = replica.config.engine.max_model_len
    if prompt + prior + new > limit:
        raise ApiError(
            f"prompt_token_ids length ({prompt}) plus output_token_ids length ({prior}) plus delta ({new}) "
            f"exceeds max_model_len ({limit})."
        )


def _completion_chunk(replica: Replica, wanted: DerenderCompletionStreamRequest) -> dict[str, Any]:
    asked, chunk = wanted.completion_request, wanted.generate_chunk
    if asked is not None and asked.stop:
        raise ApiError(_STREAM_STOPS)
    _check_prompt(replica, wanted.prompt_token_ids)
    if len(chunk.choices) > 1:
        raise ApiError("derender_completion_stream expects at most one choice per chunk")
    reading = Reading(replica.tokenizer, replica.prepared.compat, asked)
    state = wanted.stream_state or DerenderStreamState()
    told = asked is not None and bool(asked.return_token_ids)
    choices = []
    for choice in chunk.choices:
        ids = choice.token_ids or []
        said, stop = reading.without_stop(ids, choice.finish_reason, choice.stop_reason)
        text = reading.delta(said, state)
        values: dict[str, Any] = {"index": choice.index, "text": text, "stop_reason": stop}
        values["finish_reason"] = choice.finish_reason
        offset = state.logprob_text_offset + len(text)
        if choice.logprobs is not None:
            most = asked.logprobs if asked is not None else None
            resolved = reading.logprobs(choice.logprobs, state.logprob_context_token_ids, most)
            made = reading.completion_logprobs(choice.logprobs, resolved, state.logprob_text_offset)
            values["logprobs"] = made
            if made["tokens"]:
                offset = made["text_offset"][-1] + len(made["tokens"][-1])
        state.logprob_text_offset = offset
        state.logprob_context_token_ids = [*state.logprob_context_token_ids, *ids][-4:]
        if told:
            values |= {"token_ids": choice.token_ids, "prompt_token_ids": chunk.prompt_token_ids}
        keys = ("index", "text", *_CHUNK_CHOICE[1:4], "prompt_token_ids", *_CHUNK_CHOICE[4:])
        choices.append(ordered(keys, values))
    body = _chunk(replica, wanted, "text_completion", choices)
    return {
        "chunk": ordered((*_CHUNK_HEAD, "metrics", "kv_transfer_params"), body),
        "stream_state": state.model_dump(),
    }


def _chunk(
    replica: Replica,
    wanted: DerenderChatStreamRequest | DerenderCompletionStreamRequest,
    kind: str,
    choices: list[Any],
) -> dict[str, Any]:
    chunk: GenerateChunk = wanted.generate_chunk
    usage = None
    if chunk.usage is not None:
        prompt = chunk.usage.prompt_tokens if wanted.prompt_tokens is None else wanted.prompt_tokens
        count = chunk.usage.completion_tokens or 0
        values = {"prompt_tokens": prompt, "total_tokens": prompt + count, "completion_tokens": count}
        usage = ordered(replica.prepared.compat.bodies.usage, values)
    return {
        "id": chunk.request_id or replica.prepared.new_id(),
        "object": kind,
        "created": int(time.time()),
        "model": wanted.model or replica.prepared.served[0],
        "choices": choices,
        "usage": usage,
        "metrics": chunk.metrics,
    }
