"""Answers of /v1/messages: one message, or Anthropic's events."""

from __future__ import annotations

from typing import Any

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.responses import arguments_object
from simulator.server.answers.slices import Building
from simulator.server.answers.streaming import StreamGeneration
from simulator.server.answers.tools import SpokenCalls, ToolCall
from simulator.server.answers.unary import UnaryGeneration

_STOP_REASONS = {FinishReason.STOP: "end_turn", FinishReason.LENGTH: "max_tokens"}


def _stop_reason(sequence: Sequence, calls: SpokenCalls | None) -> str:
    if calls is not None and sequence.finish_reason is FinishReason.STOP:
        return "tool_use"
    return _STOP_REASONS.get(sequence.finish_reason or FinishReason.STOP, "end_turn")


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
        sequence = self.sequences[0]
        content: list[Any] = [{"type": "text", "text": sequence.text}]
        if self.calls is not None:
            content = [_use(call, arguments_object(said)) for call, said in self.calls.spoken(sequence.text)]
        return {
            **_head(self, content),
            "stop_reason": _stop_reason(sequence, self.calls),
            "usage": {"input_tokens": self.prompt_tokens, "output_tokens": self.completion_tokens},
        }


class MessagesStream(StreamGeneration):
    """message_start, content blocks, message_delta, message_stop; then vLLM's [DONE]."""

    def __init__(self, job: Job, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.calls = calls
        self._position = 0
        self._block = -1  # the content block that is open

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        if output.finish_reason is FinishReason.ERROR:
            self.fail()
            return
        data = b""
        if sequence.num_tokens == len(output.new_token_ids):
            data = self._start()
        data += self._said(output.text)
        self._position += len(output.text)
        if output.finish_reason is None:
            if data:
                self.exchange.writer.write(data)
        elif self.sequence_ended():
            self.exchange.writer.write(data + self._end(sequence), more=False)

    def _event(self, kind: str, values: dict[str, Any]) -> bytes:
        return f"event: {kind}\ndata: ".encode() + self.prepared.encode({"type": kind, **values}) + b"\n\n"

    def _start(self) -> bytes:
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": 0}
        return self._event("message_start", {"message": {**_head(self, []), "usage": usage}})

    def _open(self, block: dict[str, Any]) -> bytes:
        data = self._close()
        self._block += 1
        return data + self._event("content_block_start", {"index": self._block, "content_block": block})

    def _close(self) -> bytes:
        return b"" if self._block < 0 else self._event("content_block_stop", {"index": self._block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._event("content_block_delta", {"index": self._block, "delta": delta})

    def _said(self, text: str) -> bytes:
        if self.calls is None:
            data = self._open({"type": "text", "text": ""}) if self._block < 0 else b""
            return data + self._delta({"type": "text_delta", "text": text})
        data = b""
        for i, piece, begins in self.calls.fragments(self._position, text):
            if begins:
                data += self._open(_use(self.calls.calls[i], {}))
            data += self._delta({"type": "input_json_delta", "partial_json": piece})
        return data

    def _end(self, sequence: Sequence) -> bytes:
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": self.completion_tokens}
        delta = {"stop_reason": _stop_reason(sequence, self.calls)}
        return (
            self._close()
            + self._event("message_delta", {"delta": delta, "usage": usage})
            + self._event("message_stop", {})
            + self.DONE
        )
