"""Answers of /v1/completions: one JSON body, or a stream of chunks.

Key orders come from `compat.bodies`. A chunk that only carries text is made from two byte strings rendered
once per choice; everything else takes the long way.
"""

from __future__ import annotations

from typing import Any

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Job, Sequence
from simulator.server.answers.logprobs import TokenLogprobs
from simulator.server.answers.slices import Building
from simulator.server.answers.streaming import StreamGeneration, StreamShape
from simulator.server.answers.unary import HOLES, UnaryGeneration
from simulator.server.http.templates import BodyTemplate, split_event
from simulator.server.prepared import ordered
from simulator.server.requests.lean import CompletionRequest

_ECHO_ONLY = 0


def _echo_text(sequence: Sequence, generation: CompletionUnary | CompletionStream) -> str:
    prompt = sequence.prompt
    if prompt.text is not None:
        return prompt.text
    return generation.replica.tokenizer.decode(prompt.token_ids)


class CompletionUnary(UnaryGeneration):
    """`text_completion`, not streamed."""

    def __init__(self, job: Job, request: CompletionRequest) -> None:
        super().__init__(job)
        self.request = request

    def render(self) -> None:
        request = self.request
        if (
            not self.is_plain
            or request.echo
            or request.return_token_ids
            or request.logprobs is not None
            or request.prompt_logprobs is not None
        ):
            super().render()
            return
        key = ("completion", self.job.model)
        template = self.prepared.templates.get(key)
        if template is None:
            template = self.prepared.templates[key] = BodyTemplate(HOLES, self._with_marks)
        self.respond(self.fill(template, finish_reason(self.sequences[0], self)))

    def _with_marks(self, marks: dict[str, Any]) -> dict[str, Any]:
        bodies = self.prepared.compat.bodies
        choice = ordered(bodies.completion_choice, {"index": 0, **marks}, bodies.optional)
        return self._body(marks["id"], marks["created"], [choice], marks)

    def building(self) -> Building:
        choices = []
        for sequence in self.sequences:
            choices.append((yield from self._choice(sequence)))
            yield
        return self._body(self.job.answer_id, self.job.created, choices, self.usage())

    def _body(
        self, answer_id: str, created: Any, choices: list[Any], usage: dict[str, Any]
    ) -> dict[str, Any]:
        bodies = self.prepared.compat.bodies
        values = {
            "id": answer_id,
            "object": "text_completion",
            "created": created,
            "model": self.job.model,
            "choices": choices,
            "system_fingerprint": self.prepared.fingerprint,
            "usage": ordered(bodies.usage, usage, bodies.optional),
            "kv_transfer_params": self.kv_transfer_params,
            "metrics": self.metrics(),
        }
        return ordered(bodies.completion, values, bodies.optional)

    def _choice(self, sequence: Sequence) -> Building:
        request, bodies = self.request, self.prepared.compat.bodies
        values: dict[str, Any] = {
            "index": sequence.index,
            "text": sequence.text,
            "finish_reason": finish_reason(sequence, self),
            "stop_reason": sequence.stop_reason,
        }
        if request.echo:
            text = _echo_text(sequence, self)
            values["text"] = text if request.max_tokens == _ECHO_ONLY else text + sequence.text
        if request.return_token_ids:
            values["token_ids"] = sequence.token_ids
            values["prompt_token_ids"] = sequence.prompt.token_ids
        if request.logprobs is not None and (request.logprobs or self.prepared.compat.zero_logprobs):
            values["logprobs"] = yield from self._logprobs(sequence, request.logprobs)
        asked = request.prompt_logprobs
        if asked is None and request.echo:
            asked = request.logprobs
        if asked is not None:
            values["prompt_logprobs"] = yield from self._names().prompt(sequence.prompt.token_ids, asked)
        return ordered(bodies.completion_choice, values, bodies.optional)

    def _names(self) -> TokenLogprobs:
        as_ids = self.request.return_tokens_as_token_ids or self.replica.config.return_tokens_as_token_ids
        return TokenLogprobs(self.replica.tokenizer, bool(as_ids))

    def _logprobs(self, sequence: Sequence, count: int) -> Building:
        names = self._names()
        if not self.request.echo:
            return (yield from names.completion_slowly(sequence.token_ids, count, 0))
        made, offset = yield from names.echoed(sequence.prompt.token_ids, count)
        if self.request.max_tokens != _ECHO_ONLY:
            rest = yield from names.completion_slowly(sequence.token_ids, count, offset)
            for key, values in rest.items():
                made[key] += values
        return made


def finish_reason(sequence: Sequence, generation: CompletionUnary | CompletionStream) -> str | None:
    """The reason as the client reads it; llm-d names prefill legs."""
    reason = sequence.finish_reason
    if reason is None or sequence.reason_text is not None:
        return sequence.reason_text
    params = generation.job.kv_transfer_params
    if generation.prepared.compat.remote_decode_finish and params and params.get("do_remote_decode"):
        return "remote_decode"
    return reason  # a StrEnum


class CompletionStream(StreamGeneration):
    """`text_completion` chunks, one per engine step and choice."""

    def __init__(self, job: Job, request: CompletionRequest) -> None:
        super().__init__(job)
        self.request = request
        self.shape = StreamShape.of(request.stream_options, self)
        as_ids = request.return_tokens_as_token_ids or self.replica.config.return_tokens_as_token_ids
        self._names = TokenLogprobs(self.replica.tokenizer, bool(as_ids))
        bodies = self.prepared.compat.bodies
        self._head = {
            "id": job.answer_id,
            "object": "text_completion",
            "created": job.created,
            "model": job.model,
        }
        self._simple = (
            request.logprobs is None
            and not request.return_token_ids
            and not self.shape.continuous
            and not self.prepared.compat.go_json
        )
        self._bodies = bodies

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        first = sequence.num_tokens == len(output.new_token_ids)
        if output.finish_reason is FinishReason.ERROR:
            self.fail()
            return
        if output.kv_transfer_params is not None:
            self.kv_transfer_params = output.kv_transfer_params
        data = self._chunks(sequence, output, first)
        if output.finish_reason is None:
            if self._simple:
                sequence.frame = self._frame(sequence)
            self.exchange.writer.write(data)
        elif self.sequence_ended():
            self.exchange.writer.write(data + self._end(), more=False)
        else:
            self.exchange.writer.write(data)

    def _frame(self, sequence: Sequence) -> tuple[bytes, bytes]:
        """What stands before and after the text in a chunk that carries nothing else."""
        return split_event(lambda text: self._chunk(self._choice(sequence, text, [], False, None)))

    def _chunks(self, sequence: Sequence, output: RequestOutput, first: bool) -> bytes:
        text, ids = output.text, output.new_token_ids
        reason = finish_reason(sequence, self)
        if first and self.request.echo:
            text = _echo_text(sequence, self) + ("" if self.request.max_tokens == _ECHO_ONLY else text)
        last = reason is not None
        if reason == "stop" and self.prepared.compat.stop_chunk:
            return self._event(self._choice(sequence, text, ids, first, None), False) + self._event(
                self._choice(sequence, "", [], False, reason), True
            )
        return self._event(self._choice(sequence, text, ids, first, reason), last)

    def _choice(
        self, sequence: Sequence, text: str, ids: list[int], first: bool, reason: str | None
    ) -> dict[str, Any]:
        request = self.request
        values: dict[str, Any] = {"index": sequence.index, "text": text, "finish_reason": reason}
        if reason is not None:
            values["stop_reason"] = sequence.stop_reason
        if request.return_token_ids:
            values["token_ids"] = ids
        if first and (request.echo or request.return_token_ids):
            values["prompt_token_ids"] = sequence.prompt.token_ids
        if request.logprobs is not None and ids:
            position = sequence.num_tokens - len(ids)
            values["logprobs"], sequence.text_offset = self._names.completion(
                ids, request.logprobs, position, sequence.text_offset
            )
        return ordered(self._bodies.completion_chunk_choice, values, self._bodies.chunk_optional)

    def _chunk(self, choice: dict[str, Any], last: bool = False) -> dict[str, Any]:
        values: dict[str, Any] = {**self._head, "choices": [choice]}
        if self.shape.continuous:
            values["usage"] = ordered(self._bodies.stream_usage, self.usage(), _DETAILS)
        if last and not self.shape.usage and self.prepared.fingerprint is not None:
            values["system_fingerprint"] = self.prepared.fingerprint
        if last:
            values["kv_transfer_params"] = self.kv_transfer_params
        return ordered(self._bodies.completion_chunk, values, self._bodies.chunk_optional)

    def _event(self, choice: dict[str, Any], last: bool) -> bytes:
        return b"data: " + self.prepared.encode(self._chunk(choice, last)) + b"\n\n"

    def _end(self) -> bytes:
        """The usage event, if asked for, and the end mark: one write, for pickers that read one piece."""
        if not self.shape.usage:
            return self.DONE
        values: dict[str, Any] = {
            **self._head,
            "choices": [],
            "usage": ordered(self._bodies.stream_usage, self.usage(), _DETAILS),
        }
        if self.prepared.fingerprint is not None:
            values["system_fingerprint"] = self.prepared.fingerprint
        chunk = ordered(self._bodies.completion_usage_chunk, values, self._bodies.chunk_optional)
        return b"data: " + self.prepared.encode(chunk) + b"\n\n" + self.DONE


_DETAILS = frozenset({"prompt_tokens_details"})
