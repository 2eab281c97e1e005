"""The two hot routes, /v1/completions and /v1/chat/completions, and how every generating route is served.

One request: body, refusals, a `Generation`, then waiting for the end of the answer or for the client to
leave. The answer itself is written by the generation from inside the engine's steps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from simulator.engine.request import FinishReason, SamplingParams
from simulator.server.answers.chat import ChatStream, ChatUnary
from simulator.server.answers.completion import CompletionStream, CompletionUnary
from simulator.server.answers.generation import Generation, Job
from simulator.server.answers.reasoning import plan_reasoning
from simulator.server.answers.request_log import log_request
from simulator.server.answers.streaming import StreamGeneration
from simulator.server.answers.tools import SpokenCalls, check_tools, decide_calls, is_parsed
from simulator.server.answers.values.structured import constrained_texts
from simulator.server.errors import ApiError, internal_error
from simulator.server.http.exchange import Exchange
from simulator.server.requests.lean import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    PlainChat,
    PlainCompletion,
    asks_nothing_odd,
)
from simulator.server.requests.prompts import (
    Prompt,
    PromptRules,
    chat_prompt,
    completion_prompts,
    is_prompt,
    messages_are_plain,
)
from simulator.server.requests.raw_checks import (
    GO_CHAT,
    GO_COMPLETION,
    before_chat,
    before_completion,
    known_fields,
)
from simulator.server.requests.sampling import (
    check_capacity,
    check_engine_limits,
    check_experts_start,
    check_prompt_count,
    check_sequences,
    sampling_params,
)
from simulator.server.requests.schema import ChatCompletionRequest as ChatSchema
from simulator.server.requests.schema import CompletionRequest as CompletionSchema
from simulator.server.requests.validation import UNREADABLE, as_it_stands, convert, go_fields, parse_object
from simulator.server.routes.gate import (
    check_faults,
    check_open,
    check_queued_tokens,
    check_rank,
    orca_header,
    pick_rank,
    resolve_model,
)

if TYPE_CHECKING:
    from simulator.server.replica import Replica

Prepare = Callable[[Exchange, bytes], Generation]
_log = logging.getLogger(__name__)
_decode_completion = msgspec.json.Decoder(PlainCompletion).decode
_decode_chat = msgspec.json.Decoder(PlainChat).decode


class GenerateCall:
    """One request of a generating route, from its head to the end of its answer.

    `prepare` turns the body into a Generation or raises.
    """

    __slots__ = ("_exchange", "_generation", "_handler", "_prepare", "_state")

    def __init__(self, exchange: Exchange, handler: str, prepare: Prepare) -> None:
        self._exchange = exchange
        self._handler = handler
        self._prepare = prepare
        self._generation: Generation | None = None
        self._state = exchange.replica.state
        self._state.server_load += 1
        exchange.incoming.on_data = self._read
        exchange.incoming.on_end = self._end
        self._read()

    def _read(self) -> None:
        exchange = self._exchange
        try:
            body = exchange.take_body()
            if body is None:
                return
            exchange.incoming.on_data = None
            generation = self._generation = self._prepare(exchange, body)
            start(generation)
            interval = exchange.replica.config.sse_keep_alive_interval
            if exchange.streaming and interval > 0:
                exchange.comment_on_silence(interval)
        except ApiError as error:
            self._refuse(error)
        except Exception:  # noqa: BLE001 - the last resort of one request: answered in vLLM's words, and logged
            _log.exception("a request of %s failed", self._handler)
            self._refuse(internal_error())

    def _refuse(self, error: ApiError) -> None:
        exchange, generation = self._exchange, self._generation
        exchange.incoming.on_data = None
        if generation is not None and not generation.done:
            generation.fail(error)
        elif not exchange.writer.started:
            if error.streams and exchange.streaming:
                _stream_error(exchange, error)
            else:
                exchange.respond_error(error)

    def _end(self) -> None:
        """The answer is complete, or the client is gone."""
        exchange, generation = self._exchange, self._generation
        exchange.stop_comments()
        if generation is not None:
            generation.abort()
            generation.release()
        self._state.server_load -= 1
        exchange.record(self._handler)
        if exchange.replica.config.enable_log_requests and generation is not None:
            log_request(generation)


def start(generation: Generation) -> None:
    """Let it run, later where a fault says so."""
    faults = generation.exchange.prepared.faults
    if faults.hang_requests:
        return
    if faults.slow_headers:
        asyncio.get_running_loop().call_later(faults.slow_headers, _start_late, generation)
        return
    _start(generation)


def _start_late(generation: Generation) -> None:
    if not generation.done and not generation.exchange.writer.wire.is_gone:
        _start(generation)


def _start(generation: Generation) -> None:
    """Let it run; with a stream, the headers go out now."""
    exchange = generation.exchange
    exchange.extra += orca_header(exchange)
    if isinstance(generation, StreamGeneration):
        exchange.start_stream()
        opening = generation.begin()
        if opening:
            exchange.writer.write(opening)
    if exchange.replica.state.shutting_down:
        # vLLM's drain: who comes now gets an answer without tokens.
        generation.answer_without_tokens(FinishReason.ABORT)
        return
    asked = exchange.headers.get(b"x-cache-threshold-finish-reason")
    if (asked is not None and asked.lower() in (b"true", b"1", b"t")) or generation.is_too_cold:
        generation.answer_without_tokens(FinishReason.STOP, "cache_threshold")
        return
    generation.submit()


def _stream_error(exchange: Exchange, error: ApiError) -> None:
    """An error that vLLM finds in the engine, told inside a stream that has begun."""
    exchange.start_stream()
    exchange.writer.write(error.event() + StreamGeneration.DONE, more=False)


def prepare_completion(exchange: Exchange, body: bytes) -> Generation:
    """A completion's Generation; raises ApiError."""
    compat = exchange.prepared.compat
    request = _read_completion(body, exchange)
    exchange.streaming = bool(request.stream)
    replica = exchange.replica = pick_rank(exchange, not request.use_beam_search)
    model, lora = resolve_model(replica, request.model)
    if request.suffix is not None:
        raise ApiError(compat.suffix_message, param="suffix" if compat.error_param else None)
    check_open(replica)
    rules = PromptRules(replica.config, compat, replica.tokenizer)
    prompts = completion_prompts(request, rules)
    job = job_of(exchange, request, "cmpl-", prompts)
    job.model, job.lora = model, lora
    return CompletionStream(job, request) if request.stream else CompletionUnary(job, request)


def _read_completion(body: bytes, exchange: Exchange) -> CompletionRequest:
    """A body as a request. Most bodies are plain; the others are looked at as closely as vLLM does."""
    compat = exchange.prepared.compat
    if not compat.go_fields:
        try:
            request = _decode_completion(body)
        except UNREADABLE:
            pass
        else:
            check_prompt_count(request.prompt, exchange.replica.config, compat)
            if request.prompt and asks_nothing_odd(request) and is_prompt(request.prompt):
                check_faults(exchange, request.model)
                return request
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    if compat.go_fields:
        raw = go_fields(raw, GO_COMPLETION)
    check_prompt_count(raw.get("prompt"), exchange.replica.config, compat)
    raw = known_fields(raw, compat, exchange.replica.config.strict)
    before_completion(raw, compat)
    if compat.go_fields:
        plain = as_it_stands(raw, PlainCompletion)
        if plain is not None and is_prompt(plain.prompt):
            return plain
    return convert(raw, CompletionRequest, CompletionSchema, compat)


def _read_chat(body: bytes, exchange: Exchange) -> ChatRequest:
    """The same for a chat."""
    compat = exchange.prepared.compat
    if not compat.go_fields:
        try:
            request = _decode_chat(body)
        except UNREADABLE:
            pass
        else:
            odd = request.top_logprobs or request.continue_final_message
            if not odd and asks_nothing_odd(request) and messages_are_plain(request.messages):
                check_faults(exchange, request.model)
                return request
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    if compat.go_fields:
        raw = go_fields(raw, GO_CHAT)
    if not compat.messages_required:
        raw = {"messages": [], **raw}
    raw = known_fields(raw, compat, exchange.replica.config.strict)
    before_chat(raw, compat)
    if compat.go_fields:
        plain = as_it_stands(raw, PlainChat)
        if plain is not None and messages_are_plain(plain.messages):
            return plain
    return convert(raw, ChatRequest, ChatSchema, compat, keep=("messages", "tools"))


def prepare_chat(exchange: Exchange, body: bytes) -> Generation:
    """A chat's Generation; raises ApiError."""
    request = _read_chat(body, exchange)
    exchange.streaming = bool(request.stream)
    replica = exchange.replica = pick_rank(exchange, not request.use_beam_search)
    job, calls = chat_job(exchange, request, replica)
    return ChatStream(job, request, calls) if request.stream else ChatUnary(job, request, calls)


def chat_job(
    exchange: Exchange, request: ChatRequest, replica: Replica, prefix: str = "chatcmpl-"
) -> tuple[Job, SpokenCalls | None]:
    """What a conversation comes to in the engine; shared by chat, responses and messages."""
    compat, config = exchange.prepared.compat, replica.config
    model, lora = resolve_model(replica, request.model)
    check_tools(request, config, compat)
    check_open(replica)
    prompt = chat_prompt(request, PromptRules(config, compat, replica.tokenizer))
    sampling = sampling_params(request, len(prompt.token_ids), config, compat)
    check_queued_tokens(replica, len(prompt.token_ids))
    job = _job(exchange, request, prefix, [prompt], sampling)
    job.model, job.lora = model, lora
    job.reasoning, job.thought = plan_reasoning(request, config, compat, sampling, prompt.rendered)
    _check_engine(exchange, request, [prompt], sampling)
    rng = exchange.prepared.random_for(request.seed)
    if is_parsed(request, config, compat):
        job.parsed_as = "chat_completions" if prefix else "responses"
    calls = decide_calls(request, config.tools, compat, rng, sampling.max_tokens)
    if calls is not None:
        job.fixed_outputs = (calls.text,)
    else:
        job.fixed_outputs = _constrained(exchange, request, sampling.max_tokens, sampling.n)
    return job, calls


def job_of(exchange: Exchange, request: GenerationRequest, prefix: str, prompts: list[Prompt]) -> Job:
    """What `request` comes to in the engine for each of its prompts; raises ApiError."""
    replica, compat = exchange.replica, exchange.prepared.compat
    longest = max(len(prompt.token_ids) for prompt in prompts)
    sampling = sampling_params(request, longest, replica.config, compat)
    check_sequences(len(prompts), sampling.n, replica.config)
    check_queued_tokens(replica, sum(len(prompt.token_ids) for prompt in prompts))
    job = _job(exchange, request, prefix, prompts, sampling)
    _check_engine(exchange, request, prompts, sampling)
    job.fixed_outputs = _constrained(exchange, request, sampling.max_tokens, len(prompts) * sampling.n)
    return job


def _job(
    exchange: Exchange,
    request: GenerationRequest,
    prefix: str,
    prompts: list[Prompt],
    sampling: SamplingParams,
) -> Job:
    given = request.request_id
    if given is None:
        header = exchange.headers.get(b"x-request-id")
        given = header.decode("latin-1") if header else exchange.prepared.new_id()
    return Job(
        exchange=exchange,
        answer_id=prefix + given,
        model="",
        prompts=prompts,
        sampling=sampling,
        priority=request.priority,
        cache_salt=request.cache_salt,
        kv_transfer_params=request.kv_transfer_params,
        cache_hit_threshold=request.cache_hit_threshold,
        stream=bool(request.stream),
        created=int(time.time()),
    )


def _check_engine(
    exchange: Exchange, request: GenerationRequest, prompts: list[Prompt], sampling: SamplingParams
) -> None:
    size = exchange.replica.tokenizer.vocab_size
    compat = exchange.prepared.compat
    check_engine_limits(request, sampling, size, exchange.replica.config, compat)
    check_rank(exchange, not request.use_beam_search)
    longest = max(len(prompt.token_ids) for prompt in prompts)
    check_capacity(longest + sampling.max_tokens, exchange.replica.config, compat)
    for prompt in prompts:
        if not prompt.token_ids and not compat.empty_prompt_allowed:
            raise ApiError("The decoder prompt cannot be empty", streams=True)
        if prompt.text is None and prompt.token_ids and max(prompt.token_ids) >= size:
            worst = max(prompt.token_ids)
            raise ApiError(f"Token id {worst} is out of vocabulary", streams=True)
        if compat.recent_fields:
            check_experts_start(request, len(prompt.token_ids), compat)


def _constrained(
    exchange: Exchange, request: GenerationRequest, max_tokens: int, count: int
) -> tuple[str, ...]:
    """What the choices must say, in turn; empty without a constraint."""
    if not (request.response_format or request.structured_outputs or _guided(request)):
        return ()
    rng = exchange.prepared.random_for(request.seed)
    settings = exchange.replica.config.tools
    return constrained_texts(request, settings, rng, max_tokens, count)


def _guided(request: GenerationRequest) -> bool:
    return not (
        request.guided_json is None and request.guided_regex is None and request.guided_choice is None
    )


def prepare_invocation(exchange: Exchange, body: bytes) -> Generation:
    """A chat if the body is one, else a completion: /invocations tries vLLM's types in this order.

    ApiError in the words of the one that was meant.
    """
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"JSON decode error: {error}", 400, "Bad Request") from None
    if "messages" in parse_object(body, exchange.prepared.compat):
        try:
            return prepare_chat(exchange, body)
        except ApiError as error:
            if error.kind != "Bad Request":  # what pydantic refuses may be of the next type
                raise
    return prepare_completion(exchange, body)


GENERATING: dict[str, Prepare] = {
    "/v1/completions": prepare_completion,
    "/v1/chat/completions": prepare_chat,
}
