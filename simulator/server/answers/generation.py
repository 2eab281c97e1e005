"""One client request in flight: its sequences in the engine, and their way back into one answer.

`Generation` owns the life: submit, abort, failure, end. `unary.UnaryGeneration` gathers,
`streaming.StreamGeneration` writes each output at once; what the bytes look like is the business of their
subclasses, one pair per route.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason, LoRARequest, Request, SamplingParams
from simulator.engine.text.plans import Thought
from simulator.errors import EngineError
from simulator.server.answers.reasoning import Reasoning, Splitter, ThoughtCounter
from simulator.server.answers.request_metrics import cache_details, request_metrics
from simulator.server.answers.sinks import CuttingSink, Held, IntervalSink
from simulator.server.answers.slices import run_in_slices
from simulator.server.driver import Sink
from simulator.server.errors import ApiError, internal_error
from simulator.server.http.exchange import Exchange
from simulator.server.metrics.tracing import TracingSink
from simulator.server.requests.prompts import Prompt

if TYPE_CHECKING:
    from simulator.server.replica import Replica

_AT_ONCE = 64  # sequences that are made before the first is submitted
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_LAST_WORDS_SECONDS = 0.005


@dataclass(slots=True)
class Job:
    """What a route has made of a request body; enough to run it and to render its answer."""

    exchange: Exchange
    answer_id: str
    model: str  # the name that the answer carries
    prompts: list[Prompt]
    sampling: SamplingParams
    lora: LoRARequest | None = None
    priority: int = 0
    cache_salt: str | None = None
    kv_transfer_params: dict[str, Any] | None = None
    cache_hit_threshold: float | None = None  # llm-d's, 0 to 1
    reasoning: Reasoning | None = None  # how thought and content are taken apart
    thought: Thought | None = None  # what each answer begins with
    parsed_as: str | None = None  # vLLM's tool parser looks at the answer: how its counter calls the route
    fixed_outputs: Seq[str | None] = ()  # per choice; empty: the text source decides
    stream: bool = False
    created: int = 0

    def fixed_output(self, index: int) -> str | None:
        return self.fixed_outputs[index % len(self.fixed_outputs)] if self.fixed_outputs else None


class Sequence:
    """One choice: the sink of one engine request, and what has come of it so far."""

    __slots__ = (
        "counter",
        "finish_reason",
        "frame",
        "generation",
        "held",
        "index",
        "num_parsed",
        "num_tokens",
        "prompt",
        "reason_text",
        "request",
        "splitter",
        "stop_reason",
        "text",
        "text_offset",
        "token_ids",
        "writer",
    )

    def __init__(self, generation: Generation, index: int, prompt: Prompt, request: Request) -> None:
        self.generation: Generation = generation
        self.writer = generation.exchange.writer
        self.frame: tuple[bytes, bytes] | None = None  # of a chunk that carries nothing but text
        self.index = index
        self.prompt = prompt
        self.request = request
        self.text = ""
        self.token_ids: list[int] = []
        self.num_tokens = 0
        self.num_parsed = 0  # tokens that the tool parser has been counted for
        self.text_offset = 0  # characters before the next token, for logprobs
        self.finish_reason: FinishReason | None = None
        self.stop_reason: int | str | None = None
        self.reason_text: str | None = None  # a finish_reason that no engine knows
        self.splitter: Splitter | None = None  # of a stream whose thought is taken out
        self.counter: ThoughtCounter | None = None  # of the tokens that are thought
        self.held: Held | None = None  # what a reader who stands still has not been sent

    def on_output(self, output: RequestOutput) -> None:
        """Called by the driver inside the step."""
        if self.writer.full or self.held is not None:
            self._hold(output)
            return
        frame = self.frame
        if frame is None or output.finish_reason is not None:
            self._deliver(output)
            return
        self.num_tokens += len(output.new_token_ids)
        if self.counter is not None:
            self.counter.feed(output.new_token_ids)
        self.writer.write(frame[0] + _encode(output.text) + frame[1])

    def _hold(self, output: RequestOutput) -> None:
        """Merge what a full writer would only pile up; the last output goes out with all that is held."""
        if self.held is None:
            self.held = Held()
            self.writer.on_room = self.generation.deliver_held
        self.held.add(output)
        if output.finish_reason is not None:
            self.deliver_held()

    def deliver_held(self) -> None:
        """Pass on as one output what has been held, if anything."""
        held, self.held = self.held, None
        output = held.take() if held is not None else None
        if output is not None:
            self._deliver(output)

    def _deliver(self, output: RequestOutput) -> None:
        self.num_tokens += len(output.new_token_ids)
        if self.counter is not None:
            self.counter.feed(output.new_token_ids)
        if output.finish_reason is not None:
            self.finish_reason = output.finish_reason
            self.stop_reason = output.stop_reason
        try:
            self.generation.on_output(self, output)
        except Exception:  # noqa: BLE001 - a bug of one route must not reach the streams of others
            _log.exception("an answer failed")
            self.generation.give_up()


class Generation:
    """A request's sequences. Subclasses say what happens with an output and how the answer ends."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.exchange = job.exchange
        self.replica: Replica = job.exchange.replica
        self.prepared = job.exchange.prepared
        self.remaining = len(job.prompts) * job.sampling.n
        self.sequences: list[Sequence] = []  # many ones are made as they are submitted
        self._making = self._make_sequences()
        for _ in zip(range(_AT_ONCE), self._making, strict=False):
            pass
        self.done = False
        self._rendering = False  # all sequences have ended, the answer is being put together
        self.kv_transfer_params: dict[str, Any] | None = None

    def _make_sequences(self) -> Iterator[Sequence]:
        job, owner = self.job, self.replica.prepared  # another rank may serve what this one was asked
        n = job.sampling.n
        arrival = job.exchange.arrival
        parent_id = f"{job.answer_id}-{owner.next_sequence()}"  # clients may repeat request ids
        for prompt in job.prompts:
            for j in range(n):
                index = len(self.sequences)
                sampling = job.sampling
                if j and sampling.seed is not None:
                    sampling = replace(sampling, seed=sampling.seed + j)
                request = Request(
                    request_id=f"{parent_id}-{index}",
                    prompt_token_ids=prompt.token_ids or [0],  # llm-d takes empty prompts, an engine cannot
                    sampling=sampling,
                    arrival_time=arrival,
                    priority=job.priority,
                    lora=job.lora,
                    cache_salt=job.cache_salt,
                    kv_transfer_params=job.kv_transfer_params,
                    parent_id=parent_id,
                    index=index,
                    fixed_output=job.fixed_output(index),
                    thought=job.thought,
                    spec_steps=[] if self.replica.tells_drafts else None,
                    prompt_text=prompt.text,
                    stream=job.stream,
                )
                self.sequences.append(Sequence(self, index, prompt, request))
                if job.reasoning is not None:
                    self.sequences[-1].counter = ThoughtCounter(job.reasoning, self.replica.tokenizer)
                yield self.sequences[-1]

    @property
    def is_too_cold(self) -> bool:
        """Whether less of the prompts is cached than the request or the flag demands (llm-d's P/D decoders).

        A threshold outside 0 to 1 counts as absent, as llm-d has it; without a prefix cache none applies.
        """
        replica = self.replica
        threshold = self.job.cache_hit_threshold
        if threshold is None or not 0 <= threshold <= 1:
            threshold = replica.config.global_cache_hit_threshold
        if not threshold or not replica.config.engine.enable_prefix_caching:
            return False
        requests = [sequence.request for sequence in self.sequences]
        cached = sum(map(replica.engine.num_cached_tokens, requests))
        return cached < threshold * sum(len(request.prompt_token_ids) for request in requests)

    def submit(self) -> None:
        """Hand the sequences to the engine; raises ApiError where it refuses the first.

        An idle engine begins with the first one, since vLLM's frontend hands them over one by one: the others
        follow in the loop's next round; of very many, some in each.
        """
        try:
            self._submit_one(self.sequences[0])
        except EngineError as error:
            raise self._refused(error) from None
        self.replica.prepared.active.add(self)
        if self.remaining > 1:
            rest = chain(self.sequences[1:], self._making)
            submitting = map(self._submit_one, rest)
            asyncio.get_running_loop().call_soon(run_in_slices, submitting, self._is_wanted, self._on_error)

    def _submit_one(self, sequence: Sequence) -> None:
        self.replica.driver.submit(sequence.request, self._sink_of(sequence))

    def _sink_of(self, sequence: Sequence) -> Sink:
        """Where the outputs of a sequence go, as its replica is set up now."""
        sink: Sink = sequence
        interval = self.replica.config.stream_interval
        if interval > 1 and self.job.stream:
            sink = IntervalSink(sink, interval)
        limit = self.prepared.faults.cut_stream_after
        if limit is not None:
            sink = CuttingSink(sink, limit, self.job.stream, self._cut)
        if (spans := self.replica.spans) is not None:
            sink = TracingSink(sink, spans, self.exchange.headers, self.answer_id)
        return sink

    def _cut(self) -> None:
        """End without an answer; what has been written is to arrive first, and a reset would overtake it."""
        self.abort()
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self.exchange.hang_up)

    def _is_wanted(self) -> bool:
        """Whether there is still somebody to answer, with something that is not there yet."""
        return not self.done or self._rendering

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, EngineError):
            self.fail(self._refused(error))
        else:
            _log.error("an answer failed", exc_info=error)
            self.give_up()

    def _refused(self, error: EngineError) -> ApiError:
        """A dead engine is vLLM's 500; what a living one refuses says why."""
        if self.replica.driver.is_dead:
            return internal_error()
        return ApiError(str(error), 500, "InternalServerError")

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        raise NotImplementedError

    def write_error(self, error: ApiError) -> None:
        raise NotImplementedError

    def deliver_held(self) -> None:
        """The client reads again: send what its writer had no room for."""
        if not self.done:
            for sequence in self.sequences:
                sequence.deliver_held()

    def answer_without_tokens(self, reason: FinishReason, text: str | None = None) -> None:
        """End every sequence before it begins; `text` is the finish_reason that the client reads."""

        def end(sequence: Sequence) -> None:
            sequence.reason_text = text
            sequence.on_output(RequestOutput(sequence.request, [], "", self.exchange.arrival, reason))

        every = chain(self.sequences[:], self._making)
        run_in_slices(map(end, every), self._is_wanted, self._on_error)

    def sequence_ended(self) -> bool:
        """Count an ended sequence; True with the last one."""
        self.remaining -= 1
        if self.remaining:
            return False
        self.done = True
        self.replica.prepared.active.discard(self)
        return True

    def abort(self) -> None:
        """The client is gone: free what the engine still holds."""
        self._rendering = False
        if self.done:
            return
        self.done = True
        self.replica.prepared.active.discard(self)
        self.replica.driver.abort_many([s.request.request_id for s in self.sequences])

    def fail(self, error: ApiError | None = None) -> None:
        """End the answer with an error now (vLLM's abort shutdown: 500)."""
        if self.done and not self._rendering:
            return
        self.abort()
        self.write_error(error or internal_error())

    def give_up(self) -> None:
        """An answer that cannot be rendered: error 500 where nothing has been written, else a reset."""
        self.done = False  # the failure may have come with the last output
        self.abort()
        if self.exchange.writer.started:
            self.exchange.hang_up()
        else:
            self.exchange.respond_error(internal_error())

    def release(self) -> None:
        """Cut the circle between sequences and generation, so that nothing waits for a collection."""
        self.exchange.writer.on_room = None
        self._making = iter(())
        for sequence in self.sequences:
            del sequence.generation

    @property
    def answer_id(self) -> str:
        return self.job.answer_id

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.token_ids) for prompt in self.job.prompts)

    @property
    def completion_tokens(self) -> int:
        return sum(sequence.num_tokens for sequence in self.sequences)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens found in a cache, local or remote, by the first sequence of each prompt."""
        total = 0
        for sequence in self.sequences[:: self.job.sampling.n]:
            request = sequence.request
            total += max(0, request.num_cached_tokens) + request.num_external_cached_tokens
        return total

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of all answers that are thought."""
        return sum(sequence.counter.count for sequence in self.sequences if sequence.counter is not None)

    def usage(self) -> dict[str, Any]:
        """All that a usage object may hold; renderers pick and order."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if self.replica.config.enable_prompt_tokens_details:
            cached = self.cached_tokens
            if cached or self.prepared.compat.zero_cached_tokens:
                usage["prompt_tokens_details"] = cache_details(
                    cached, self.prepared.compat.cached_tokens_alone
                )
        if self.job.reasoning is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage

    def metrics(self) -> dict[str, Any] | None:
        """`metrics` of an answer, where flags ask for them."""
        return request_metrics(self.replica.config, self.sequences)
