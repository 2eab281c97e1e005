"""Answers of /v1/messages: one message, or Anthropic's events."""

from __future__ import annotations

import uuid
from typing import Any

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.reasoning import Splitter, split_whole
from simulator.server.answers.responses import arguments_object
from simulator.server.answers.slices import Building
from simulator.server.answers.streaming import StreamGeneration
from simulator.server.answers.tools import SpokenCalls, ToolCall
from simulator.server.answers.unary import UnaryGeneration

_STOP_REASONS = {FinishReason.STOP: "end_turn", FinishReason.LENGTH: "max_tokens"}


def _stop(sequence: Sequence, calls: SpokenCalls | None) -> tuple[str, str | None]:
    """`stop_reason` and `stop_sequence`."""
    if sequence.finish_reason is FinishReason.STOP:
        if calls is not None:
            return "tool_use", None
        if isinstance(sequence.stop_reason, str):
            return "stop_sequence", sequence.stop_reason
    return _STOP_REASONS.get(sequence.finish_reason or FinishReason.STOP, "end_turn"), None


def _usage(generation: Generation) -> dict[str, int]:
    """Anthropic's input tokens are those that no cache had; without details of the cache they are all."""
    usage = {"input_tokens": generation.prompt_tokens, "output_tokens": generation.completion_tokens}
    details = generation.usage().get("prompt_tokens_details")
    if details is not None:
        usage["input_tokens"] -= details["cached_tokens"]
        usage["cache_read_input_tokens"] = details["cached_tokens"]
    return usage


def _head(generation: Generation, content: list[Any]) -> dict[str, Any]:
    return {
        "id": generation.job.answer_id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": generation.job.model,
    }


def _use(call: ToolCall, value: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": value}


class MessagesUnary(UnaryGeneration):
    """A whole message."""

    def __init__(self, job: Job, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.calls = calls

    def building(self) -> Building:
        yield
        sequence, reasoning = self.sequences[0], self.job.reasoning
        text: str | None = sequence.text
        thought: str | None = None
        if reasoning is not None:
            thought, text = split_whole(reasoning, sequence.text)
        content: list[Any] = []
        if self.calls is not None:
            content = [_use(call, arguments_object(said)) for call, said in self.calls.spoken(text or "")]
        elif text or not thought:
            content = [{"type": "text", "text": text or ""}]
        if thought:
            content.insert(0, {"type": "thinking", "thinking": thought, "signature": uuid.uuid4().hex})
        reason, matched = _stop(sequence, self.calls)
        answer = {**_head(self, content), "stop_reason": reason}
        if matched is not None:
            answer["stop_sequence"] = matched
        return {**answer, "usage": _usage(self)}


class MessagesStream(StreamGeneration):
    """message_start, content blocks, message_delta, message_stop; there is no [DONE]."""

    def __init__(self, job: Job, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.calls = calls
        self._position = 0
        self._block = -1  # the content block that is open
        self._kind = ""  # and its type
        self._splitter = None if job.reasoning is None else Splitter(job.reasoning)

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        data = b""
        if sequence.num_tokens == len(output.new_token_ids):
            data = self._start()
        text, thought = output.text, ""
        if self._splitter is not None:
            thought, text = self._splitter.feed(text, output.finish_reason is not None)
        if thought:
            data += self._thought(thought)
        if text or self._splitter is None:
            data += self._said(text)
        self._position += len(text)
        return data

    def _thought(self, text: str) -> bytes:
        data = b""
        if self._kind != "thinking":
            data = self._open({"type": "thinking", "thinking": ""})
        return data + self._delta({"type": "thinking_delta", "thinking": text})

    def _event(self, kind: str, values: dict[str, Any]) -> bytes:
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode({"type": kind, **values}) + b"\n\n"

    def _start(self) -> bytes:
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": 0}
        message = {**_head(self, []), "stop_reason": None, "stop_sequence": None, "usage": usage}
        return self._event("message_start", {"message": message})

    def _open(self, block: dict[str, Any]) -> bytes:
        data = self._close()
        self._block += 1
        self._kind = block["type"]
        return data + self._event("content_block_start", {"content_block": block, "index": self._block})

    def _close(self) -> bytes:
        if self._block < 0:
            return b""
        data = b""
        if self._kind == "thinking":
            data = self._delta({"type": "signature_delta", "signature": uuid.uuid4().hex})
        return data + self._event("content_block_stop", {"index": self._block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._event("content_block_delta", {"delta": delta, "index": self._block})

    def _said(self, text: str) -> bytes:
        if self.calls is None:
            data = self._open({"type": "text", "text": ""}) if self._kind != "text" else b""
            return data + self._delta({"type": "text_delta", "text": text})
        data = b""
        for i, piece, begins in self.calls.fragments(self._position, text):
            self.called = True
            if begins:
                data += self._open(_use(self.calls.calls[i], {}))
            data += self._delta({"type": "input_json_delta", "partial_json": piece})
        return data

    def _end(self, sequence: Sequence) -> bytes:
        reason, matched = _stop(sequence, self.calls)
        delta = {"stop_reason": reason, "stop_sequence": matched}
        return (
            self._close()
            + self._event("message_delta", {"delta": delta, "usage": _usage(self)})
            + self._event("message_stop", {})
        )
