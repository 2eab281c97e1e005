"""A request's life inside one engine: what was asked, and how far it has come.

Everything that the scheduler knows about one sequence lives here. A request with n > 1 or several prompts
reaches the engine as that many separate `Request`s; joining them again is the server's work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from simulator.engine.kv.block_hash import BlockHash
from simulator.engine.sampling_params import FinishReason, SamplingParams
from simulator.engine.text.detokenizer import IncrementalDetokenizer
from simulator.engine.text.plans import OutputPlan, Thought

# What a request is made of. FinishReason and SamplingParams stand apart: text/ needs them and no Request.
__all__ = ["FinishReason", "LoRARequest", "Request", "RequestStatus", "SamplingParams"]


class RequestStatus(Enum):
    """Where a sequence stands; vLLM's names."""

    WAITING = 1
    WAITING_FOR_REMOTE_KVS = 2
    RUNNING = 3
    PREEMPTED = 4
    FINISHED = 5


@dataclass(frozen=True, slots=True)
class LoRARequest:
    """The adapter of a request. `int_id` counts from 1 in order of registration, as vLLM's does."""

    name: str
    int_id: int
    path: str = ""


@dataclass(slots=True, eq=False)
class Request:
    """One sequence. Times are monotonic seconds on the clock that the driver passes in as `now`.

    The fields down to `stream` are the question and never change; the rest is the engine's. `arrival_time` is
    when the server took the request in; 0.0 means: when it was added to the engine.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    arrival_time: float = 0.0
    priority: int = 0
    lora: LoRARequest | None = None
    cache_salt: str | None = None
    kv_transfer_params: dict[str, Any] | None = None
    parent_id: str = ""  # the client's request; equal for all sequences of one
    index: int = 0  # choice index within the parent: prompt index * n + sample index
    fixed_output: str | None = (
        None  # the text the model must say (tool call, echo mode), else the TextSource's
    )
    thought: Thought | None = None  # None: it answers at once
    prompt_text: str | None = None  # for echo and dataset look-up, where the caller has it
    stream: bool = True  # False: all outputs come as one, when the sequence ends

    status: RequestStatus = RequestStatus.WAITING
    num_tokens: int = 0  # prompt and output together: what a preempted request has to compute again
    num_computed_tokens: int = 0
    num_output_placeholders: int = 0  # async scheduling: tokens scheduled, not yet seen
    num_stale_output_tokens: int = 0  # async scheduling: in flight when preempted, still to be delivered
    drop_stale_output: bool = False
    num_cached_tokens: int = -1  # local prefix-cache hit at first admission; -1 until then
    num_external_cached_tokens: int = 0
    num_preemptions: int = 0
    queued_time: float = 0.0
    scheduled_time: float | None = None  # first time; kept over preemption
    first_token_time: float | None = None
    last_token_time: float | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None

    # The KV cache manager's.
    block_ids: list[int] = field(default_factory=list)
    block_hashes: list[BlockHash] = field(default_factory=list)
    num_cached_blocks: int = 0  # leading blocks that stand in the prefix cache

    token_limit: int = 0  # up to here, one more token needs neither a new block nor a look at the cache
    ahead_limit: int = 0  # the same while a token is in flight: what fills a block is not known yet

    # Speculative decoding, and engines that hold prefills back.
    num_drafts: int = 0  # draft tokens that the next schedule may take in
    is_prefill_chunk: bool = False  # after the last schedule of it, tokens of the prompt are left
    spec_steps: list[tuple[int, int]] | None = None  # (drafted, accepted) of each step; None: nobody asks

    # The scheduler's and the frontend's.
    quiet_until: int = -1  # num_tokens below which another token changes nothing but counters
    plan: OutputPlan | None = None
    script: list[int] = field(default_factory=list)  # the plan's tokens, as far as they are laid out
    max_total_tokens: int = 0  # prompt + max_tokens
    last_position: int = 0  # the position that is computed last, by max_tokens and max_model_len
    finish_at: int = 0  # num_tokens at which the engine ends the sequence, stop ids aside
    finish_as: FinishReason = FinishReason.LENGTH  # and how
    deferred: bool = False  # skipped by the last admission scan that saw it
    remote_ready_time: float | None = None  # when the remote KV transfer is done
    remote_failed: bool = False  # the transfer will turn out to have failed
    kv_transfer_output: dict[str, Any] | None = None  # what a decode server needs to pull this request's KV
    order: int = 0  # number of the admission; the order of the running list
    due: float | None = None  # own timelines: when the scheduled work is done; None: nothing is scheduled
    detokenizer: IncrementalDetokenizer | None = None
    silent: bool = False  # the next output token needs no look of the frontend
    reported_preemptions: int = 0  # as far as outputs have carried them to the frontend
    delivered: int = 0  # output tokens that RequestOutputs have carried
    detokenized: int = 0  # output tokens that the detokenizer has seen
    pending_text: str = ""  # their text, as far as no RequestOutput has carried it

    def plan_output(self, plan: OutputPlan, max_model_len: int, length_first: bool) -> None:
        """Set what the sequence will say and where it ends, stop ids and stop strings aside.

        `length_first`: EOS as the last token that max_tokens allows counts as a cut.
        """
        self.plan = plan
        num_prompt = len(self.prompt_token_ids)
        cap = min(self.sampling.max_tokens, max_model_len - num_prompt)
        eos = None if plan.length is None else plan.length + 1
        if eos is not None and (eos < cap if length_first else eos <= cap):
            length, self.finish_as = eos, FinishReason.STOP
        else:
            length, self.finish_as = max(cap, 1), FinishReason.LENGTH
        self.finish_at = num_prompt + length
        self.max_total_tokens = num_prompt + self.sampling.max_tokens
        self.last_position = min(self.max_total_tokens, max_model_len) - 1
        self.lay_out(min(length, 32))

    def lay_out(self, count: int) -> list[int]:
        """Have at least `count` tokens in `script`; returns it."""
        script, plan = self.script, self.plan
        assert plan is not None
        if len(script) < count:
            ahead = min(2 * len(script) + 16, self.finish_at - len(self.prompt_token_ids))
            script += plan.tokens(len(script), max(count, ahead))
        return script

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        return max(self.num_tokens - len(self.prompt_token_ids), 0)

    @property
    def output_token_ids(self) -> list[int]:
        """The ids generated so far; a copy."""
        return self.script[: self.num_output_tokens]

    def describe(self) -> dict[str, Any]:
        """Its state as JSON-able data, for people."""
        return {
            "request_id": self.request_id,
            "status": self.status.name,
            "prompt_tokens": self.num_prompt_tokens,
            "output_tokens": self.num_output_tokens,
            "computed_tokens": self.num_computed_tokens,
            "cached_tokens": max(self.num_cached_tokens, 0),
            "kv_blocks": len(self.block_ids),
            "preemptions": self.num_preemptions,
            "lora": self.lora.name if self.lora else None,
            "deferred": self.deferred,
        }
