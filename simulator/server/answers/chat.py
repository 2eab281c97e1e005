"""Answers of /v1/chat/completions: one JSON body, or a stream of chunks; text or tool calls."""

from __future__ import annotations

from typing import Any

from simulator.config.bodies import Keys
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.openai import (
    ChunkStream,
    WholeAnswer,
    finish_reason,
    token_names,
    weight_versions,
)
from simulator.server.answers.reasoning import Reasoning, Splitter, split_whole
from simulator.server.answers.slices import Building
from simulator.server.answers.tools import SpokenCalls, call_delta, call_object
from simulator.server.prepared import ordered
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.sampling import num_prompt_logprobs


def _finish_reason(sequence: Sequence, generation: Generation, calls: SpokenCalls | None) -> str | None:
    """The same as a completion's, but tool calls have one of their own."""
    reason = finish_reason(sequence, generation)
    if calls is not None and reason is FinishReason.STOP:
        return generation.prepared.compat.named_call_finish if calls.named else "tool_calls"
    return reason


def response_role(request: ChatRequest, generation: Generation) -> str:
    """Who speaks: without a generation prompt whoever spoke last goes on."""
    if request.add_generation_prompt or not request.messages:
        return generation.replica.config.response_role
    return str(request.messages[-1].get("role"))


def _echoed(request: ChatRequest, role: str) -> str:
    """With echo, the text of a last message that is the assistant's own."""
    last = request.messages[-1] if request.echo and request.messages else None
    if last is None or last.get("role") != role or not isinstance(last.get("content"), str):
        return ""
    return str(last["content"])


def hides(reasoning: Reasoning | None) -> bool:
    """Whether tokens and their probabilities are kept back, which would show a thought that is not to be."""
    return reasoning is not None and not reasoning.included


class ChatUnary(WholeAnswer):
    """`chat.completion`."""

    OBJECT = "chat.completion"

    def __init__(self, job: Job, request: ChatRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job)
        self.request = request
        self.calls = calls

    def render(self) -> None:
        request = self.request
        if (
            not self.is_plain
            or self.calls is not None
            or self.job.reasoning is not None
            or request.echo
            or request.return_token_ids
            or request.logprobs
            or request.prompt_logprobs is not None
            or request.return_prompt_text
            or request.return_weight_versions
            or not request.add_generation_prompt
        ):
            super().render()
            return
        self.respond_plain(_finish_reason(self.sequences[0], self, None), self._with_marks)

    def _with_marks(self, marks: dict[str, Any]) -> dict[str, Any]:
        bodies = self.prepared.compat.bodies
        values = {"index": 0, "message": self._message(marks["text"], None, None), **marks}
        choice = ordered(bodies.chat_choice, values, bodies.optional)
        return self.body_of(bodies.chat, [choice], id=marks["id"], created=marks["created"], usage=marks)

    def building(self) -> Building:
        choices = []
        for sequence in self.sequences:
            choices.append(self.encoded((yield from self._choice(sequence))))
            yield
        request, prompt_ids = self.request, self.job.prompts[0].token_ids
        asked = num_prompt_logprobs(request)
        more: dict[str, Any] = {}
        if request.return_token_ids:
            more["prompt_token_ids"] = prompt_ids
        if request.return_prompt_text:
            more["prompt_text"] = self.job.prompts[0].rendered
        if asked is not None:
            more["prompt_logprobs"] = yield from token_names(self, request).prompt(prompt_ids, asked)
        return self.body_of(self.prepared.compat.bodies.chat, choices, **more)

    def _choice(self, sequence: Sequence) -> Building:
        request, bodies = self.request, self.prepared.compat.bodies
        values: dict[str, Any] = {
            "index": sequence.index,
            "message": self._message(sequence.text, self.calls, self.job.reasoning),
            "finish_reason": _finish_reason(sequence, self, self.calls),
            "stop_reason": sequence.stop_reason,
        }
        if request.return_token_ids and not hides(self.job.reasoning):
            values["token_ids"] = sequence.token_ids
        if request.return_weight_versions:
            values["weight_versions"] = weight_versions(sequence)
        if request.logprobs and not hides(self.job.reasoning):
            count = request.top_logprobs or 0
            values["logprobs"] = yield from token_names(self, request).chat_slowly(sequence.token_ids, count)
        return ordered(bodies.chat_choice, values, bodies.optional)

    def _message(self, text: str, calls: SpokenCalls | None, reasoning: Reasoning | None) -> dict[str, Any]:
        compat = self.prepared.compat
        role = response_role(self.request, self)
        content: str | None = text
        values: dict[str, Any] = {"role": role}
        if reasoning is not None:
            thought, content = split_whole(reasoning, text)
            values[reasoning.key] = thought if reasoning.included else None
        echoed = _echoed(self.request, role)
        values["content"] = echoed + (content or "") if echoed else content
        if calls is not None:
            spoken = calls.spoken(content or "")
            values["content"] = compat.automatic_call_content if calls.automatic else ""
            values["tool_calls"] = [
                call_object(call, said, i, compat) for i, (call, said) in enumerate(spoken)
            ]
        elif compat.empty_tool_calls:
            values["tool_calls"] = []
        return ordered(compat.bodies.chat_message, values, compat.bodies.optional)


class ChatStream(ChunkStream):
    """`chat.completion.chunk`s: a role chunk for each choice, then one chunk per engine step and choice."""

    OBJECT = "chat.completion.chunk"

    def __init__(self, job: Job, request: ChatRequest, calls: SpokenCalls | None) -> None:
        super().__init__(job, request, calls is None and not request.logprobs)
        self.request = request
        self.calls = calls
        self._roles_sent = False

    def chunk_keys(self) -> tuple[Keys, Keys]:
        return self._bodies.chat_chunk, self._bodies.chat_continuous_usage

    def text_choice(self, sequence: Sequence, text: str) -> dict[str, Any]:
        return self._choice(sequence, {"content": text}, [], None)

    def is_simple(self, sequence: Sequence) -> bool:
        if self.job.reasoning is None:
            return True
        return sequence.splitter is not None and sequence.splitter.is_through

    def begin(self) -> bytes:
        """What goes out before the first token: with some servers, the role chunks."""
        return self._role_chunks() if self.prepared.compat.role_chunk == "at-once" else b""

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        data = b"" if self._roles_sent else self._role_chunks()
        return data + self._said(sequence, output)

    def _role_chunks(self) -> bytes:
        self._roles_sent = True
        role = response_role(self.request, self)
        echoed = _echoed(self.request, role)
        data = b""
        for sequence in self.sequences:
            data += self._role_chunk(sequence, {"role": role, "content": ""})
            if echoed:
                data += self.event(self._choice(sequence, {"content": echoed}, [], None), False)
        return data

    def _role_chunk(self, sequence: Sequence, delta: dict[str, Any]) -> bytes:
        choice = ordered(self._bodies.chat_role_choice, {"index": sequence.index, "delta": delta})
        values: dict[str, Any] = {**self._head, "choices": [choice]}
        if self.shape.continuous:
            prompt = len(sequence.prompt.token_ids)
            usage: dict[str, Any] = {"prompt_tokens": prompt, "total_tokens": prompt, "completion_tokens": 0}
            if self.job.reasoning is not None:
                usage["completion_tokens_details"] = {"reasoning_tokens": 0}
            values["usage"] = ordered(self._bodies.chat_continuous_usage, usage)
        if self.request.return_token_ids:
            values["prompt_token_ids"] = sequence.prompt.token_ids
        if self.request.return_prompt_text:
            values["prompt_text"] = sequence.prompt.rendered
        chunk = ordered(self._bodies.chat_role_chunk, values, self._bodies.chunk_optional)
        return b"data: " + self.prepared.encode(chunk) + b"\n\n"

    def _said(self, sequence: Sequence, output: RequestOutput) -> bytes:
        ids = output.new_token_ids
        reason = None
        if sequence.finish_reason is not None:
            reason = _finish_reason(sequence, self, self.calls)
        delta = self._delta(sequence, output)
        if reason == "stop" and self.prepared.compat.stop_chunk:
            first = self.event(self._choice(sequence, delta or {}, ids, None), False)
            return first + self.event(self._choice(sequence, {"content": ""}, [], reason), True)
        if delta is None:
            request, hidden = self.request, hides(self.job.reasoning)
            told = self.job.reasoning is not None and (request.return_token_ids or request.logprobs)
            if reason is None and (hidden or not told):
                return b""
            delta = {}
        return self.event(self._choice(sequence, delta, ids, reason), reason is not None)

    def _delta(self, sequence: Sequence, output: RequestOutput) -> dict[str, Any] | None:
        """What a client sees of an output; None: nothing."""
        text, reasoning = output.text, self.job.reasoning
        delta: dict[str, Any] | None = None
        if reasoning is not None:
            splitter = sequence.splitter
            if splitter is None:
                splitter = sequence.splitter = Splitter(reasoning)
            thought, text = splitter.feed(text, output.finish_reason is not None)
            if thought and reasoning.included:
                delta = {reasoning.key: thought}
        position = sequence.text_offset
        sequence.text_offset += len(text)
        if self.calls is not None:
            called = self._call_deltas(self.calls, position, text)
            return delta if called is None else {**(delta or {}), **called}
        if text or reasoning is None:
            delta = {"content": text, **(delta or {})}
        return delta

    def _call_deltas(self, calls: SpokenCalls, position: int, text: str) -> dict[str, Any] | None:
        """The delta that `text` at `position` adds to the calls; None: nothing that a client would see."""
        fragments = calls.fragments(position, text)
        self.called = bool(fragments)
        if not fragments:
            return None
        return {
            "tool_calls": [call_delta(calls.calls[i], i, piece, begins) for i, piece, begins in fragments]
        }

    def _choice(
        self, sequence: Sequence, delta: dict[str, Any], ids: list[int], reason: str | None
    ) -> dict[str, Any]:
        request = self.request
        values: dict[str, Any] = {"index": sequence.index, "delta": delta, "finish_reason": reason}
        if request.return_token_ids and not hides(self.job.reasoning):
            values["token_ids"] = ids
        if request.logprobs and ids and not hides(self.job.reasoning):
            position = sequence.num_tokens - len(ids)
            values["logprobs"] = self._names.chat(ids, request.top_logprobs or 0, position)
        if reason is None:
            return ordered(self._bodies.chat_chunk_choice, values, self._bodies.chunk_optional)
        values["stop_reason"] = sequence.stop_reason
        if request.return_weight_versions:
            values["weight_versions"] = weight_versions(sequence)
        return ordered(self._bodies.chat_last_choice, values, self._bodies.chunk_optional)
