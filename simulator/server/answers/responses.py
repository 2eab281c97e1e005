"""Answers of /v1/responses: one response object, or the events of its making."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import BaseModel

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.logprobs import TokenLogprobs
from simulator.server.answers.slices import Building
from simulator.server.answers.streaming import StreamGeneration
from simulator.server.answers.tools import SpokenCalls, ToolCall
from simulator.server.answers.unary import UnaryGeneration
from simulator.server.errors import ApiError
from simulator.server.requests.other import ResponsesRequest
from simulator.server.requests.responses_types import ResponseTextConfig


def _response(generation: ResponsesUnary | ResponsesStream, status: str, output: list[Any]) -> dict[str, Any]:
    """The response object with vLLM's keys; usage is there once it is finished."""
    job, request = generation.job, generation.request
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": job.answer_id,
        "created_at": job.created,
        "incomplete_details": incomplete,
        "instructions": request.instructions,
        "metadata": request.metadata,
        "model": job.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": bool(request.parallel_tool_calls),
        "temperature": job.sampling.temperature,
        "tool_choice": _plain(request.tool_choice),
        "tools": [_plain(tool) for tool in request.tools],
        "top_p": 1.0 if request.top_p is None or job.sampling.temperature == 0 else request.top_p,
        "background": bool(request.background),
        "max_output_tokens": job.sampling.max_tokens,
        "max_tool_calls": request.max_tool_calls,
        "previous_response_id": request.previous_response_id,
        "prompt": request.prompt,
        "prompt_cache_options": _plain(request.prompt_cache_options),
        "prompt_cache_key": request.prompt_cache_key,
        "prompt_cache_retention": request.prompt_cache_retention,
        "reasoning": _plain(request.reasoning),
        "safety_identifier": request.safety_identifier,
        "service_tier": request.service_tier,
        "status": status,
        "text": _plain(request.text),
        "top_logprobs": job.sampling.logprobs,
        "truncation": request.truncation,
        "usage": None if status == "in_progress" else _usage(generation),
        "user": request.user,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "kv_transfer_params": generation.kv_transfer_params,
        "ec_transfer_params": None,
        **_raw_messages(generation, status != "in_progress" and request.enable_response_messages),
    }


def queued(generation: ResponsesUnary | ResponsesStream) -> dict[str, Any]:
    """The response object of work that has not begun."""
    return {**_response(generation, "in_progress", []), "status": "queued"}


def _raw_messages(generation: Generation, wanted: bool) -> dict[str, Any]:
    """What the model read and said, as text and as tokens."""
    if not wanted:
        return {"input_messages": None, "output_messages": None}
    prompt, said = generation.job.prompts[0], generation.sequences[0]
    return {
        "input_messages": [_raw_message(prompt.rendered or "", prompt.token_ids)],
        "output_messages": [_raw_message(said.text, said.token_ids)],
    }


def _raw_message(text: str, token_ids: list[int]) -> dict[str, Any]:
    return {"message": text, "tokens": token_ids, "type": "raw_message_tokens"}


def _plain(value: Any) -> Any:
    """A part of the request as it is told again, with every field that it could have."""
    if isinstance(value, ResponseTextConfig):
        form = None if value.format is None else value.format.model_dump(by_alias=True)
        return {"format": form, "verbosity": value.verbosity}
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value


def _usage(generation: Generation) -> dict[str, Any]:
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": generation.cached_tokens,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": completion,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": prompt + completion,
    }


def _status(sequence: Sequence) -> str:
    return "incomplete" if sequence.finish_reason is FinishReason.LENGTH else "completed"


def _text_part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}


def _without_own(entry: dict[str, Any], count: int) -> dict[str, Any]:
    """A token's entry in the order of OpenAI's type, with as many alternatives as were asked for."""
    return {
        "token": entry["token"],
        "bytes": entry["bytes"],
        "logprob": entry["logprob"],
        "top_logprobs": [
            {"token": other["token"], "bytes": other["bytes"], "logprob": other["logprob"]}
            for other in entry["top_logprobs"][:count]
        ],
    }


def _message_item(item_id: str, content: list[Any], status: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "content": content,
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def _call_item(item_id: str, call: ToolCall, arguments: str, status: str) -> dict[str, Any]:
    return {
        "arguments": arguments,
        "call_id": call.id,
        "name": call.name,
        "type": "function_call",
        "id": item_id,
        "status": status,
    }


class ResponsesUnary(UnaryGeneration):
    """A whole response."""

    def __init__(self, job: Job, request: ResponsesRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.request = request
        self.calls = calls

    def building(self) -> Building:
        yield
        sequence = self.sequences[0]
        status = _status(sequence)
        if self.calls is None:
            item_id = f"msg_{self.prepared.new_id()}"
            logprobs = None
            count = self.job.sampling.logprobs
            if count is not None:
                as_ids = self.replica.config.return_tokens_as_token_ids
                names = TokenLogprobs(self.replica.tokenizer, as_ids)
                said = yield from names.chat_slowly(sequence.token_ids, count)
                logprobs = [_without_own(msgspec.json.decode(entry), count) for entry in said["content"]]
            output = [_message_item(item_id, [_text_part(sequence.text, logprobs)], status)]
        else:
            output = [
                _call_item(f"fc_{self.prepared.new_id()}", call, said, status)
                for call, said in self.calls.spoken(sequence.text)
            ]
        return _response(self, status, output)


class ResponsesStream(StreamGeneration):
    """The events response.created to response.completed; there is no [DONE]."""

    def __init__(self, job: Job, request: ResponsesRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.request = request
        self.calls = calls
        self._number = 0
        self._text = ""
        self._items: list[str] = []  # ids of the output items that have begun
        self._done: list[dict[str, Any]] = []

    def begin(self) -> bytes:
        response = _response(self, "in_progress", [])
        return self._event("response.created", {"response": response}) + self._event(
            "response.in_progress", {"response": response}
        )

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        if self.request.enable_response_messages:  # else nobody asks for the whole again
            sequence.text += output.text
            sequence.token_ids += output.new_token_ids
        return self._said(output.text)

    def write_error(self, error: ApiError) -> None:
        self.exchange.writer.write(error.event(), more=False)

    def _event(self, kind: str, values: dict[str, Any]) -> bytes:
        data = {**values, "sequence_number": self._number, "type": kind}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode(data) + b"\n\n"

    def _said(self, text: str) -> bytes:
        position = len(self._text)
        self._text += text
        if self.calls is None:
            return self._text_delta(text)
        data = b""
        for i, piece, begins in self.calls.fragments(position, text):
            if begins:
                data += self._close_call(i - 1) + self._open_call(i)
            values = {"delta": piece, "item_id": self._items[i], "output_index": i}
            data += self._event("response.function_call_arguments.delta", values)
        return data

    def _text_delta(self, text: str) -> bytes:
        data = b"" if self._items else self._open_message()
        values = {
            "content_index": 0,
            "delta": text,
            "item_id": self._items[0],
            "logprobs": [],
            "output_index": 0,
        }
        return data + self._event("response.output_text.delta", values)

    def _open_message(self) -> bytes:
        item_id = f"msg_{self.prepared.new_id()}"
        self._items.append(item_id)
        item = _message_item(item_id, [], "in_progress")
        part = {"content_index": 0, "item_id": item_id, "output_index": 0, "part": _text_part("", [])}
        return self._event("response.output_item.added", {"item": item, "output_index": 0}) + self._event(
            "response.content_part.added", part
        )

    def _open_call(self, index: int) -> bytes:
        assert self.calls is not None
        item_id = f"fc_{self.prepared.new_id()}"
        self._items.append(item_id)
        item = _call_item(item_id, self.calls.calls[index], "", "in_progress")
        return self._event("response.output_item.added", {"item": item, "output_index": index})

    def _close_call(self, index: int, status: str = "completed") -> bytes:
        if index < 0 or self.calls is None or index < len(self._done):
            return b""
        call, said = self.calls.spoken(self._text)[index]
        item = _call_item(self._items[index], call, said, status)
        self._done.append(item)
        values = {"arguments": said, "item_id": item["id"], "name": call.name, "output_index": index}
        return self._event("response.function_call_arguments.done", values) + self._event(
            "response.output_item.done", {"item": item, "output_index": index}
        )

    def _close_message(self, status: str) -> bytes:
        data = b"" if self._items else self._open_message()
        where = {"content_index": 0, "item_id": self._items[0], "output_index": 0}
        place = {key: where[key] for key in ("content_index", "item_id")}
        text_done = {**place, "logprobs": [], "output_index": 0}
        item = _message_item(self._items[0], [_text_part(self._text)], status)
        self._done.append(item)
        data += self._text_done(text_done)
        data += self._event("response.content_part.done", {**where, "part": _text_part(self._text)})
        return data + self._event("response.output_item.done", {"item": item, "output_index": 0})

    def _text_done(self, values: dict[str, Any]) -> bytes:
        """The one event whose text stands between its number and its type."""
        kind = "response.output_text.done"
        data = {**values, "sequence_number": self._number, "text": self._text, "type": kind}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode(data) + b"\n\n"

    def _end(self, sequence: Sequence) -> bytes:
        status = _status(sequence)
        if self.calls is None:
            data = self._close_message(status)
        else:
            data = self._close_call(len(self._items) - 1, status)
        return data + self._event(f"response.{status}", {"response": _response(self, status, self._done)})


def arguments_object(arguments: str) -> Any:
    """Arguments as a value; {} where they were cut off before they were whole JSON."""
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return {}
