"""Answers of /v1/completions: one JSON body, or a stream of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simulator.config.bodies import Keys
from simulator.engine.outputs import RequestOutput
from simulator.server.answers.generation import Job, Sequence
from simulator.server.answers.openai import (
    ChunkStream,
    WholeAnswer,
    finish_reason,
    token_names,
    weight_versions,
)
from simulator.server.answers.sinks import Held
from simulator.server.answers.slices import Building, run_in_slices
from simulator.server.prepared import ordered
from simulator.server.requests.lean import CompletionRequest
from simulator.server.requests.sampling import num_prompt_logprobs

_ECHO_ONLY = 0


def _echo_text(sequence: Sequence, generation: CompletionUnary | CompletionStream) -> str:
    prompt = sequence.prompt
    if prompt.text is not None:
        return prompt.text
    return generation.replica.tokenizer.decode(prompt.token_ids)


class CompletionUnary(WholeAnswer):
    """`text_completion`, not streamed."""

    OBJECT = "text_completion"

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
            or request.return_weight_versions
        ):
            super().render()
            return
        self.respond_plain(finish_reason(self.sequences[0], self), self._with_marks)

    def _with_marks(self, marks: dict[str, Any]) -> dict[str, Any]:
        bodies = self.prepared.compat.bodies
        choice = ordered(bodies.completion_choice, {"index": 0, **marks}, bodies.optional)
        return self.body_of(
            bodies.completion, [choice], id=marks["id"], created=marks["created"], usage=marks
        )

    def building(self) -> Building:
        choices = []
        for sequence in self.sequences:
            choices.append(self.encoded((yield from self._choice(sequence))))
            yield
        return self.body_of(self.prepared.compat.bodies.completion, choices)

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
        if request.return_weight_versions:
            values["weight_versions"] = weight_versions(sequence)
        if request.return_token_ids:
            values["token_ids"] = sequence.token_ids
            values["prompt_token_ids"] = sequence.prompt.token_ids
        if request.logprobs is not None and (request.logprobs or self.prepared.compat.zero_logprobs):
            values["logprobs"] = yield from self._logprobs(sequence, request.logprobs)
        asked = num_prompt_logprobs(request)
        if asked is not None:
            values["prompt_logprobs"] = yield from token_names(self, request).prompt(
                sequence.prompt.token_ids, asked
            )
        return ordered(bodies.completion_choice, values, bodies.optional)

    def _logprobs(self, sequence: Sequence, count: int) -> Building:
        names = token_names(self, self.request)
        if not self.request.echo:
            return (yield from names.completion_slowly(sequence.token_ids, count, 0))
        made, offset = yield from names.echoed(sequence.prompt.token_ids, count)
        if self.request.max_tokens != _ECHO_ONLY:
            rest = yield from names.completion_slowly(sequence.token_ids, count, offset)
            for key, values in rest.items():
                made[key] += values
        return made


class CompletionStream(ChunkStream):
    """`text_completion` chunks, one per engine step and choice."""

    OBJECT = "text_completion"

    def __init__(self, job: Job, request: CompletionRequest) -> None:
        super().__init__(job, request, request.logprobs is None)
        self.request = request
        self._early: dict[int, Held] = {}  # outputs that wait for the logprobs of an echoed prompt
        self._echoed: dict[int, dict[str, Any]] = {}  # these, until the first chunk has them

    def chunk_keys(self) -> tuple[Keys, Keys]:
        return self._bodies.completion_chunk, self._bodies.stream_usage

    def text_choice(self, sequence: Sequence, text: str) -> dict[str, Any]:
        return self._choice(sequence, text, [], False, None)

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        index = sequence.index
        early = self._early.get(index)
        if early is not None:
            early.add(output)
        elif self._echoes_logprobs and sequence.num_tokens == len(output.new_token_ids):
            self._early[index] = Held()
            self._early[index].add(output)
            run_in_slices(self._echo(sequence), self._is_wanted, self._on_error)
        else:
            super().on_output(sequence, output)

    @property
    def _echoes_logprobs(self) -> bool:
        return bool(self.request.echo) and self.request.logprobs is not None

    def _echo(self, sequence: Sequence) -> Iterator[None]:
        """The prompt's logprobs, then the outputs that have come meanwhile, as one."""
        made = yield from self._names.echoed(sequence.prompt.token_ids, self.request.logprobs or 0)
        self._echoed[sequence.index], sequence.text_offset = made
        output = self._early.pop(sequence.index).take()
        if output is not None:
            super().on_output(sequence, output)

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        first = sequence.num_tokens == len(output.new_token_ids)
        text, ids = output.text, output.new_token_ids
        reason = finish_reason(sequence, self)
        if first and self.request.echo:
            text = _echo_text(sequence, self) + ("" if self.request.max_tokens == _ECHO_ONLY else text)
        last = reason is not None
        if reason == "stop" and self.prepared.compat.stop_chunk:
            return self.event(self._choice(sequence, text, ids, first, None), False) + self.event(
                self._choice(sequence, "", [], False, reason), True
            )
        return self.event(self._choice(sequence, text, ids, first, reason), last)

    def _choice(
        self, sequence: Sequence, text: str, ids: list[int], first: bool, reason: str | None
    ) -> dict[str, Any]:
        request = self.request
        values: dict[str, Any] = {"index": sequence.index, "text": text, "finish_reason": reason}
        if reason is not None:
            values["stop_reason"] = sequence.stop_reason
            if request.return_weight_versions:
                values["weight_versions"] = weight_versions(sequence)
        if request.return_token_ids:
            values["token_ids"] = ids
        if first and (request.echo or request.return_token_ids):
            values["prompt_token_ids"] = sequence.prompt.token_ids
        if request.logprobs is not None and ids:
            position = sequence.num_tokens - len(ids)
            echoed = self._echoed.pop(sequence.index, None)
            if echoed is not None and request.max_tokens == _ECHO_ONLY:
                values["logprobs"] = echoed
            else:
                told, sequence.text_offset = self._names.completion(
                    ids, request.logprobs, position, sequence.text_offset
                )
                values["logprobs"] = {key: echoed[key] + told[key] for key in told} if echoed else told
        return ordered(self._bodies.completion_chunk_choice, values, self._bodies.chunk_optional)
