"""/v1/chat/completions/batch and /generative_scoring: several prompts in one request, one answer for all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from simulator.server.answers.chat import ChatUnary
from simulator.server.answers.generation import Generation, Job
from simulator.server.answers.slices import Building
from simulator.server.answers.unary import UnaryGeneration
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange
from simulator.server.requests.batch import (
    BatchChatCompletionRequest,
    GenerativeScoringRequest,
    before_batch,
    before_scoring,
)
from simulator.server.requests.lean import ChatRequest, CompletionRequest
from simulator.server.requests.prompts import Prompt, PromptRules, chat_prompt, encoded
from simulator.server.requests.raw_checks import before_chat
from simulator.server.requests.schema import ChatCompletionRequest as ChatSchema
from simulator.server.requests.validation import convert, parse_object, validate
from simulator.server.routes.gate import check_faults, check_open, resolve_model
from simulator.server.routes.generate import job_of

_SPREAD = 4.0  # of log-probabilities, between the likeliest label and the least
_LIKELIEST = -1.0


def prepare_batch(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of conversations that are answered together; raises ApiError."""
    compat = exchange.prepared.compat
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    before_batch(raw, compat)
    batch = validate(raw, BatchChatCompletionRequest, compat)
    model, lora = resolve_model(exchange.replica, batch.model)
    replica, conversations = exchange.replica, raw["messages"]
    check_open(replica)
    shared = batch.model_dump(exclude={"messages"}, exclude_none=True, exclude_unset=True, by_alias=True)
    shared = {key: value for key, value in shared.items() if key not in ("stream", "stream_options")}
    rules = PromptRules(replica.config, compat, replica.tokenizer)
    requests: list[ChatRequest] = []
    prompts: list[Prompt] = []
    for messages in conversations:
        one: dict[str, Any] = {**shared, "messages": messages}
        before_chat(one, compat)
        requests.append(convert(one, ChatRequest, ChatSchema, compat, keep=("messages", "tools")))
        prompts.append(chat_prompt(requests[-1], rules))
    job = job_of(exchange, requests[0], "chatcmpl-", prompts)
    job.model, job.lora = model, lora
    return ChatUnary(job, requests[0], None)


def prepare_scoring(exchange: Exchange, body: bytes) -> Generation:
    """The Generation of items to be scored; raises ApiError."""
    compat, replica = exchange.prepared.compat, exchange.replica
    raw = parse_object(body, compat)
    check_faults(exchange, raw.get("model"))
    before_scoring(raw, compat)
    wanted = validate(raw, GenerativeScoringRequest, compat)
    model, lora = resolve_model(replica, wanted.model)
    size = replica.tokenizer.vocab_size
    for label in wanted.label_token_ids:
        if not 0 <= label < size:
            message = f"label_token_id {label} is out of vocabulary range [0, {size})."
            raise ApiError(f"{message} Please provide valid token IDs.")
    if not wanted.label_token_ids:
        raise ApiError("label_token_ids must contain at least one token ID.")
    if not wanted.items:
        raise ApiError("items must contain at least one item.")
    check_open(replica)
    prompts = _prompts(exchange, wanted)
    request = CompletionRequest(max_tokens=1, cache_salt=wanted.cache_salt, priority=wanted.priority)
    if "request_id" in wanted.model_fields_set:
        request.request_id = wanted.request_id
    job = job_of(exchange, request, "generative-scoring-", prompts)
    job.model, job.lora = model, lora
    return _ScoringUnary(job, wanted.label_token_ids, wanted.apply_softmax)


def _prompts(exchange: Exchange, wanted: GenerativeScoringRequest) -> list[Prompt]:
    replica = exchange.replica
    rules = PromptRules(replica.config, exchange.prepared.compat, replica.tokenizer, checks_length=False)

    def ids(text: str | list[int], special: bool = False) -> list[int]:
        return encoded(text, rules, None, special) if isinstance(text, str) else text

    query, most = ids(wanted.query, wanted.add_special_tokens), replica.config.engine.max_model_len - 1
    both = [[ids(item), query] if wanted.item_first else [query, ids(item)] for item in wanted.items]
    return [Prompt([*first, *second][:most]) for first, second in both]


class _ScoringUnary(UnaryGeneration):
    """A list of scores. There is no model: log-probabilities are a hash of prompt and label."""

    def __init__(self, job: Job, labels: Sequence[int], apply_softmax: bool) -> None:
        super().__init__(job)
        self._labels = labels
        self._softmax = apply_softmax

    def building(self) -> Building:
        data = []
        for sequence in self.sequences:
            score = self._score(sequence.prompt.token_ids)
            data.append({"index": sequence.index, "object": "score", "score": score})
            yield
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {
            "id": self.job.answer_id,
            "object": "list",
            "created": self.job.created,
            "model": self.job.model,
            "data": data,
            "usage": {
                "prompt_tokens": prompt,
                "total_tokens": prompt + completion,
                "completion_tokens": completion,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        }

    def _score(self, prompt: Sequence[int]) -> float:
        values = {label: math.exp(_logprob(prompt, label)) for label in self._labels}
        first = values[self._labels[0]]
        return first / sum(values.values()) if self._softmax else first


def _logprob(prompt: Sequence[int], label: int) -> float:
    digest: Any = hashlib.sha256(f"{','.join(map(str, prompt))}|{label}".encode()).digest()
    return _LIKELIEST - _SPREAD * int.from_bytes(digest[:6], "big") / 2**48
