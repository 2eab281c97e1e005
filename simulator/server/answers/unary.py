"""Answers that are gathered and sent once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Sequence
from simulator.server.answers.slices import Building, run_in_slices
from simulator.server.answers.tools import SpokenCalls
from simulator.server.errors import ApiError, internal_error
from simulator.server.http.templates import BodyTemplate

_encode = msgspec.json.Encoder().encode

HOLES = (
    *("id", "created", "text", "finish_reason", "stop_reason"),
    *("prompt_tokens", "total_tokens", "completion_tokens"),
)


class UnaryGeneration(Generation):
    """Gathers everything and answers once. `calls`: the tool calls that the answer makes."""

    calls: SpokenCalls | None = None

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        sequence.text += output.text
        sequence.token_ids += output.new_token_ids
        if output.kv_transfer_params is not None:
            self.kv_transfer_params = output.kv_transfer_params
        if output.finish_reason is not None and self.sequence_ended():
            if sequence.finish_reason is FinishReason.ERROR:
                self.exchange.respond_error(internal_error())
            else:
                if self.job.parsed_as is not None:
                    outcome = "no_tool_call" if self.calls is None else "tool_call"
                    times = len(self.sequences)
                    self.replica.count_tool_parser("non_streaming", outcome, self.job.parsed_as, times)
                self.render()

    def render(self) -> None:
        """Put the answer together and send it; a long one in slices."""
        self._rendering = True
        run_in_slices(self._respond_slowly(), self._is_wanted, self._on_error)

    def _respond_slowly(self) -> Iterator[None]:
        body = yield from self.building()
        self.respond(self.prepared.encode(body))

    def respond(self, body: bytes) -> None:
        """The whole answer."""
        self._rendering = False
        self.exchange.respond(body)

    @property
    def is_plain(self) -> bool:
        """Whether the answer holds one choice and nothing that only some requests ask for."""
        config = self.replica.config
        return (
            len(self.sequences) == 1
            and self.kv_transfer_params is None
            and not config.enable_prompt_tokens_details
            and not config.enable_per_request_metrics
            and not self.replica.tells_drafts
            and not self.prepared.compat.go_json
        )

    def fill(self, template: BodyTemplate, finish_reason: str | None) -> bytes:
        """A plain answer from its template, whose holes are `HOLES`."""
        job, sequence = self.job, self.sequences[0]
        prompt, completion = len(sequence.prompt.token_ids), sequence.num_tokens
        return template.fill(
            _encode(job.answer_id),
            b"%d" % job.created,
            _encode(sequence.text),
            _encode(finish_reason),
            _encode(sequence.stop_reason),
            b"%d" % prompt,
            b"%d" % (prompt + completion),
            b"%d" % completion,
        )

    def encoded(self, part: dict[str, Any]) -> msgspec.Raw:
        """A part of a long answer, encoded in its slice: the whole is encoded in one go."""
        return msgspec.Raw(self.prepared.encode(part))

    def building(self) -> Building:
        """The whole answer, with a yield wherever others may have their turn."""
        raise NotImplementedError

    def write_error(self, error: ApiError) -> None:
        self.exchange.respond_error(error)
