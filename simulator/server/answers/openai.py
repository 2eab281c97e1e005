"""What the answers to completions and to chats share: whole ones from a template, streams of chunks.

Key orders come from `compat.bodies`. A chunk that only carries text is made from two byte strings that are
rendered once per choice (`Sequence.frame`); everything else takes the long way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from simulator.config.bodies import Keys
from simulator.engine.outputs import RequestOutput
from simulator.server.answers.generation import Generation, Job, Sequence
from simulator.server.answers.logprobs import TokenLogprobs
from simulator.server.answers.streaming import StreamGeneration, StreamShape
from simulator.server.answers.unary import HOLES, UnaryGeneration
from simulator.server.http.templates import BodyTemplate, split_event
from simulator.server.prepared import ordered
from simulator.server.requests.lean import ChatRequest, CompletionRequest

_DETAILS = frozenset({"prompt_tokens_details"})
_ALL_DETAILS = _DETAILS | {"completion_tokens_details"}


def finish_reason(sequence: Sequence, generation: Generation) -> str | None:
    """The reason as the client reads it; llm-d names prefill legs. None before the end."""
    reason = sequence.finish_reason
    if reason is None or sequence.reason_text is not None:
        return sequence.reason_text
    params = generation.job.kv_transfer_params
    if generation.prepared.compat.remote_decode_finish and params and params.get("do_remote_decode"):
        return "remote_decode"
    return reason  # a StrEnum


def weight_versions(sequence: Sequence) -> list[dict[str, Any]]:
    """Which weights sampled which tokens: there is one version, from the first to the last."""
    return [{"version": "default", "start": 0, "end": sequence.num_tokens}]


def token_names(generation: Generation, request: CompletionRequest | ChatRequest) -> TokenLogprobs:
    """Tokens as this request reads them."""
    as_ids = request.return_tokens_as_token_ids or generation.replica.config.return_tokens_as_token_ids
    return TokenLogprobs(generation.replica.tokenizer, bool(as_ids))


class WholeAnswer(UnaryGeneration):
    """An answer in one body."""

    OBJECT: ClassVar[str]

    def respond_plain(
        self, reason: str | None, with_marks: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Answer from the template of this kind and model; `with_marks` makes what it is cut from."""
        key = (self.OBJECT, self.job.model)
        template = self.prepared.templates.get(key)
        if template is None:
            template = self.prepared.templates[key] = BodyTemplate(HOLES, with_marks)
        self.respond(self.fill(template, reason))

    def body_of(self, keys: Keys, choices: list[Any], **values: Any) -> dict[str, Any]:
        """The answer around its choices; `values` add to what every answer has, or stand instead."""
        bodies = self.prepared.compat.bodies
        usage = values.pop("usage", None) or self.usage()
        usual = {
            "id": self.job.answer_id,
            "object": self.OBJECT,
            "created": self.job.created,
            "model": self.job.model,
            "choices": choices,
            "system_fingerprint": self.prepared.fingerprint,
            "usage": ordered(bodies.usage, usage, bodies.optional),
            "kv_transfer_params": self.kv_transfer_params,
            "metrics": self.metrics(),
        }
        return ordered(keys, usual | values, bodies.optional)


class ChunkStream(StreamGeneration):
    """A chunk per engine step and choice, then the end: usage if asked for, and the end mark.

    A subclass says what an output comes to (`chunks`), and what a choice that carries only text looks like.
    """

    OBJECT: ClassVar[str]

    def __init__(self, job: Job, request: CompletionRequest | ChatRequest, only_text: bool) -> None:
        super().__init__(job)
        compat = self.prepared.compat
        self.shape = StreamShape.of(request.stream_options, self)
        self._bodies = compat.bodies
        self._names = token_names(self, request)
        self._head = {
            "id": job.answer_id,
            "object": self.OBJECT,
            "created": job.created,
            "model": job.model,
        }
        self._simple = (
            only_text and not request.return_token_ids and not self.shape.continuous and not compat.go_json
        )

    def chunk_keys(self) -> tuple[Keys, Keys]:
        """The keys of a chunk, and those of the usage on it where a client wants that continuously."""
        raise NotImplementedError

    def text_choice(self, sequence: Sequence, text: str) -> dict[str, Any]:
        """A choice with text and nothing else, before the last."""
        raise NotImplementedError

    def is_simple(self, sequence: Sequence) -> bool:
        """Whether all that is to come of a choice, up to its last chunk, is text as the engine gives it."""
        return True

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        if self._simple and output.finish_reason is None and self.is_simple(sequence):
            sequence.frame = split_event(lambda text: self._chunk(self.text_choice(sequence, text)))
        super().on_output(sequence, output)

    def event(self, choice: dict[str, Any], last: bool) -> bytes:
        """The chunk of a choice, `last` when it carries a finish reason."""
        return b"data: " + self.prepared.encode(self._chunk(choice, last)) + b"\n\n"

    def _chunk(self, choice: dict[str, Any], last: bool = False) -> dict[str, Any]:
        keys, usage_keys = self.chunk_keys()
        values: dict[str, Any] = {**self._head, "choices": [choice]}
        if self.shape.continuous:
            details = _ALL_DETAILS if usage_keys is self._bodies.stream_usage else _DETAILS
            values["usage"] = ordered(usage_keys, self.usage(), details)
        if last and not self.shape.usage and self.prepared.fingerprint is not None:
            values["system_fingerprint"] = self.prepared.fingerprint
        if last:
            values["kv_transfer_params"] = self.kv_transfer_params
        return ordered(keys, values, self._bodies.chunk_optional)

    def _end(self, sequence: Sequence) -> bytes:
        """The usage event, if asked for, and the end mark: one write, for pickers that read one piece."""
        if not self.shape.usage:
            return self.DONE
        values: dict[str, Any] = {
            **self._head,
            "choices": [],
            "usage": ordered(self._bodies.stream_usage, self.usage(), _ALL_DETAILS),
        }
        if self.prepared.fingerprint is not None:
            values["system_fingerprint"] = self.prepared.fingerprint
        chunk = ordered(self._bodies.completion_usage_chunk, values, self._bodies.chunk_optional)
        return b"data: " + self.prepared.encode(chunk) + b"\n\n" + self.DONE
