"""Answers of /inference/v1/generate: token ids, with their text or a parsed message where that is asked for.

Key orders and values are those of vLLM 0.33, recorded from a running server.
"""

from __future__ import annotations

from typing import Any

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.logprobs import TokenLogprobs
from simulator.server.answers.openai import weight_versions
from simulator.server.answers.reasoning import split_whole
from simulator.server.answers.slices import Building
from simulator.server.answers.streaming import StreamGeneration
from simulator.server.answers.tools import SpokenCalls, call_object
from simulator.server.answers.unary import UnaryGeneration
from simulator.server.prepared import ordered
from simulator.server.requests.scale_out import GenerateRequest

_HEAD = (
    *("request_id", "model", "created", "usage", "prompt_logprobs", "prompt_token_id_logprobs"),
    *("prompt_token_ids", "mm_placeholders", "metrics", "kv_transfer_params", "ec_transfer_params"),
    *("output_mode", "choices"),
)
_CHOICE = (
    *("index", "finish_reason", "stop_reason", "token_ids", "routed_experts", "sampling_mask"),
    *("weight_versions", "message", "text", "logprobs"),
)
_ONE_MODE_ONLY = frozenset({"message", "text"})
_SLICE = 32  # tokens between two yields


def _names(generation: Generation) -> TokenLogprobs:
    return TokenLogprobs(generation.replica.tokenizer, generation.replica.config.return_tokens_as_token_ids)


def _logprobs(
    generation: Generation, request: GenerateRequest, ids: list[int], position: int
) -> dict[str, Any] | None:
    """`logprobs` of the tokens from `position` on, by id or, where there is text, by name."""
    count = request.sampling_params.logprobs
    if count is None:
        return None
    if request.output_mode != "tokens":
        return _names(generation).chat(ids, count, position)
    return {"content": [_by_id(generation, token, position + i, count) for i, token in enumerate(ids)]}


def _by_id(generation: Generation, token: int, position: int, count: int) -> dict[str, Any]:
    names = _names(generation)
    best = names.alternatives(token, position, max(count, 1))
    top = [{"token_id": other, "logprob": value, "rank": i} for i, (other, value) in enumerate(best, 1)]
    return {**top[0], "top_logprobs": top}


class GenerateUnary(UnaryGeneration):
    """One body."""

    def __init__(self, job: Job, request: GenerateRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.request = request
        self.calls = calls

    def building(self) -> Building:
        choices = []
        for sequence in self.sequences:
            choices.append(self.encoded((yield from self._choice(sequence))))
            yield
        request = self.request
        prompt = self.job.prompts[0].token_ids
        usage = ordered(
            self.prepared.compat.bodies.usage, {**self.usage(), "completion_tokens_details": None}
        )
        values: dict[str, Any] = {
            "request_id": self.job.answer_id,
            "model": self.job.model,
            "created": self.job.created,
            "usage": usage,
            "metrics": self.metrics(),
            "kv_transfer_params": self.kv_transfer_params,
            "output_mode": request.output_mode,
            "choices": choices,
        }
        if request.sampling_params.prompt_logprobs is not None:
            asked = request.sampling_params.prompt_logprobs
            values["prompt_logprobs"] = yield from _names(self).prompt(prompt, asked)
        if request.return_token_ids:
            values["prompt_token_ids"] = prompt
            values["mm_placeholders"] = None
        return ordered(_HEAD, values)

    def _choice(self, sequence: Sequence) -> Building:
        request, reasoning = self.request, self.job.reasoning
        values: dict[str, Any] = {
            "index": sequence.index,
            "finish_reason": sequence.finish_reason or "stop",
            "stop_reason": sequence.stop_reason,
            "token_ids": sequence.token_ids,
            "weight_versions": weight_versions(sequence),
        }
        parts: list[Any] = []
        for start in range(0, sequence.num_tokens, _SLICE):
            part = _logprobs(self, request, sequence.token_ids[start : start + _SLICE], start)
            parts += part["content"] if part is not None else ()
            yield
        if request.sampling_params.logprobs is not None:
            values["logprobs"] = {"content": parts}
        if request.output_mode == "text":
            values["text"] = sequence.text
        elif request.output_mode == "derender":
            values["message"] = self._message(sequence.text)
            if self.calls is not None and sequence.finish_reason is FinishReason.STOP:
                values["finish_reason"] = "tool_calls"
            if reasoning is not None and not reasoning.included:
                values["logprobs"] = values["token_ids"] = None
        return ordered(_CHOICE, values, _ONE_MODE_ONLY)

    def _message(self, text: str) -> dict[str, Any]:
        """The answer as a chat's message, thought and calls taken out."""
        compat, reasoning = self.prepared.compat, self.job.reasoning
        values: dict[str, Any] = {"role": "assistant", "content": text}
        if reasoning is not None:
            thought, values["content"] = split_whole(reasoning, text)
            values[reasoning.key] = thought if reasoning.included else None
        if self.calls is not None:
            spoken = self.calls.spoken(values["content"] or "")
            values["content"] = compat.automatic_call_content if self.calls.automatic else ""
            values["tool_calls"] = [
                call_object(call, said, i, compat) for i, (call, said) in enumerate(spoken)
            ]
        return ordered(compat.bodies.chat_message, values, compat.bodies.optional)


class GenerateStream(StreamGeneration):
    """An event for each output of a choice, then usage where it is asked for."""

    def __init__(self, job: Job, request: GenerateRequest) -> None:
        super().__init__(job)
        self.request = request
        options = request.stream_options
        self._usage = bool(options and options.include_usage)
        self._continuous = self._usage and bool(options and options.continuous_usage_stats)
        self._prompt_told = not request.return_token_ids

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        request, ids = self.request, output.new_token_ids
        last = output.finish_reason is not None
        if not (ids or last or (request.output_mode == "text" and output.text)):
            return b""
        values: dict[str, Any] = {
            "index": sequence.index,
            "finish_reason": output.finish_reason,
            "stop_reason": output.stop_reason,
            "token_ids": ids,
            "weight_versions": weight_versions(sequence) if last else None,
            "logprobs": _logprobs(self, request, ids, sequence.num_tokens - len(ids)),
        }
        if request.output_mode == "text":
            values["text"] = output.text
        body: dict[str, Any] = {"request_id": self.job.answer_id, "usage": None}
        if self._continuous:
            body["usage"] = self._usage_of(len(sequence.prompt.token_ids), sequence.num_tokens)
        if not self._prompt_told:
            self._prompt_told = True
            body["prompt_token_ids"] = sequence.prompt.token_ids
        body["output_mode"] = request.output_mode
        body["choices"] = [ordered(_CHOICE, values, _ONE_MODE_ONLY)]
        return self._event(body)

    def _usage_of(self, prompt: int, completion: int) -> dict[str, Any]:
        values = {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
        }
        return ordered(self.prepared.compat.bodies.usage, values)

    def _event(self, body: dict[str, Any]) -> bytes:
        return b"data: " + self.prepared.encode(body) + b"\n\n"

    def _end(self, sequence: Sequence) -> bytes:
        if not self._usage:
            return self.DONE
        usage = self.usage()
        kept = ("prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details")
        body: dict[str, Any] = {
            "request_id": self.job.answer_id,
            "usage": {key: usage[key] for key in kept if key in usage},
        }
        metrics = self.metrics()
        if metrics is not None:
            body["metrics"] = metrics
        return self._event({**body, "output_mode": self.request.output_mode, "choices": []}) + self.DONE
