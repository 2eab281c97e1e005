"""Answers of /v1/responses: one response object, or the events of its making."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import msgspec
from pydantic import BaseModel

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.logprobs import TokenLogprobs
from simulator.server.answers.reasoning import Splitter, split_whole
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
            "reasoning_tokens": generation.reasoning_tokens,
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


def _thought_item(item_id: str, text: str | None, status: str | None) -> dict[str, Any]:
    content = None if text is None else [{"text": text, "type": "reasoning_text"}]
    return {
        "id": item_id,
        "summary": [],
        "type": "reasoning",
        "content": content,
        "encrypted_content": None,
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
        sequence, reasoning = self.sequences[0], self.job.reasoning
        status = _status(sequence)
        text: str | None = sequence.text
        output: list[Any] = []
        if reasoning is not None:
            thought, text = split_whole(reasoning, sequence.text)
            if thought and reasoning.included:
                output.append(_thought_item(f"rs_{self.prepared.new_id()}", thought, None))
        if self.calls is not None:
            output += [
                _call_item(f"fc_{self.prepared.new_id()}", call, said, status)
                for call, said in self.calls.spoken(text or "")
            ]
        elif text or reasoning is None:
            item_id = f"msg_{self.prepared.new_id()}"
            part = _text_part(text or "", (yield from self._logprobs(sequence)))
            output.append(_message_item(item_id, [part], status))
        return _response(self, status, output)

    def _logprobs(self, sequence: Sequence) -> Generator[None, None, list[Any] | None]:
        count, reasoning = self.job.sampling.logprobs, self.job.reasoning
        if count is None or (reasoning is not None and not reasoning.included):
            return None
        names = TokenLogprobs(self.replica.tokenizer, self.replica.config.return_tokens_as_token_ids)
        said = yield from names.chat_slowly(sequence.token_ids, count)
        return [_without_own(msgspec.json.decode(entry), count) for entry in said["content"]]


class ResponsesStream(StreamGeneration):
    """The events response.created to response.completed; there is no [DONE].

    One output item is open at a time: a thought, the message, or a call.
    """

    def __init__(self, job: Job, request: ResponsesRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.request = request
        self.calls = calls
        self._number = 0
        self._splitter = None if job.reasoning is None else Splitter(job.reasoning)
        self._position = 0  # characters of the content so far
        self._open = ""  # type of the item that is open
        self._call: ToolCall | None = None
        self._item_id = ""
        self._text = ""  # of the item that is open
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
        text, thought, reasoning = output.text, "", self.job.reasoning
        if self._splitter is not None:
            thought, text = self._splitter.feed(text, output.finish_reason is not None)
        data = b""
        if thought and reasoning is not None and reasoning.included:
            data = self._begin("reasoning") + self._delta("response.reasoning_text.delta", thought)
        if text or reasoning is None:
            data += self._said(text)
        return data

    def write_error(self, error: ApiError) -> None:
        self.exchange.writer.write(error.event(), more=False)

    def _event(self, kind: str, values: dict[str, Any]) -> bytes:
        data = {**values, "sequence_number": self._number, "type": kind}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode(data) + b"\n\n"

    def _said(self, text: str) -> bytes:
        position = self._position
        self._position += len(text)
        if self.calls is None:
            return self._begin("message") + self._delta("response.output_text.delta", text)
        data = b""
        for i, piece, begins in self.calls.fragments(position, text):
            self.called = True
            if begins:
                data += self._close("completed") + self._begin_call(self.calls.calls[i])
            self._text += piece
            values = {"delta": piece, "item_id": self._item_id, "output_index": len(self._done)}
            data += self._event("response.function_call_arguments.delta", values)
        return data

    def _delta(self, kind: str, text: str) -> bytes:
        self._text += text
        values: dict[str, Any] = {"content_index": 0, "delta": text, "item_id": self._item_id}
        if self._open == "message":
            values["logprobs"] = []
        return self._event(kind, {**values, "output_index": len(self._done)})

    def _begin(self, kind: str) -> bytes:
        """See to it that a thought or the message is open."""
        if self._open == kind:
            return b""
        data = self._close("completed")
        self._open, self._text = kind, ""
        index = len(self._done)
        item: dict[str, Any]
        if kind == "message":
            self._item_id = f"msg_{self.prepared.new_id()}"
            item, part = _message_item(self._item_id, [], "in_progress"), _text_part("", [])
        else:
            self._item_id = f"rs_{self.prepared.new_id()}"
            item = _thought_item(self._item_id, None, "in_progress")
            part = {"text": "", "type": "reasoning_text"}
        place = {"content_index": 0, "item_id": self._item_id, "output_index": index, "part": part}
        return (
            data
            + self._event("response.output_item.added", {"item": item, "output_index": index})
            + self._event("response.content_part.added", place)
        )

    def _begin_call(self, call: ToolCall) -> bytes:
        self._open, self._call, self._text = "call", call, ""
        self._item_id = f"fc_{self.prepared.new_id()}"
        item = _call_item(self._item_id, call, "", "in_progress")
        return self._event("response.output_item.added", {"item": item, "output_index": len(self._done)})

    def _close(self, status: str) -> bytes:
        """End the item that is open, if any."""
        kind, self._open = self._open, ""
        if kind == "call":
            return self._close_call(status)
        if not kind:
            return b""
        index, text = len(self._done), self._text
        part: dict[str, Any]
        if kind == "message":
            part, done = _text_part(text), "response.output_text.done"
            item = _message_item(self._item_id, [part], status)
        else:
            part, done = {"text": text, "type": "reasoning_text"}, "response.reasoning_text.done"
            item = _thought_item(self._item_id, text, status)
        values: dict[str, Any] = {"content_index": 0, "item_id": self._item_id}
        if kind == "message":
            values["logprobs"] = []
        data = self._text_done(done, {**values, "output_index": index})
        self._done.append(item)
        place = {"content_index": 0, "item_id": self._item_id, "output_index": index, "part": part}
        data += self._event("response.content_part.done", place)
        return data + self._event("response.output_item.done", {"item": item, "output_index": index})

    def _close_call(self, status: str) -> bytes:
        assert self._call is not None
        index = len(self._done)
        item = _call_item(self._item_id, self._call, self._text, status)
        self._done.append(item)
        values = {
            "arguments": self._text,
            "item_id": self._item_id,
            "name": self._call.name,
            "output_index": index,
        }
        return self._event("response.function_call_arguments.done", values) + self._event(
            "response.output_item.done", {"item": item, "output_index": index}
        )

    def _text_done(self, kind: str, values: dict[str, Any]) -> bytes:
        """The events whose text stands between their number and their type."""
        data = {**values, "sequence_number": self._number, "text": self._text, "type": kind}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode(data) + b"\n\n"

    def _end(self, sequence: Sequence) -> bytes:
        status = _status(sequence)
        data = b""
        if self.calls is None and not self._done and not self._open and self.job.reasoning is None:
            data = self._begin("message")
        data += self._close(status)
        return data + self._event(f"response.{status}", {"response": _response(self, status, self._done)})


def arguments_object(arguments: str) -> Any:
    """Arguments as a value; {} where they were cut off before they were whole JSON."""
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return {}
