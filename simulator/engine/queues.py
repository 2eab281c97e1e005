"""Where the requests of one engine stand, and what comes with a place: blocks, adapter slots, statistics.

A request waits (`waiting`, or `holding` where it has KV blocks already), runs, or is gone; every change of
place goes through here. What a step computes is decided elsewhere: `scheduler` for those that run,
`admission` for those that wait.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.kv.transfer import Transfers
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.policy import make_queue
from simulator.engine.request import FinishReason, Request, RequestStatus
from simulator.engine.stats import EngineStats
from simulator.engine.step import ScheduledStep
from simulator.errors import InvariantError

REMOTE = RequestStatus.WAITING_FOR_REMOTE_KVS
RUNNING = RequestStatus.RUNNING
FINISHED = RequestStatus.FINISHED


class Queues:
    """`in_flight`: the scheduled steps that have not been updated, oldest first."""

    def __init__(
        self,
        config: EngineConfig,
        kv: KVCacheManager,
        loras: LoRAManager | None,
        transfers: Transfers,
        stats: EngineStats,
    ) -> None:
        self.config = config
        self.kv = kv
        self.loras = loras
        self.transfers = transfers
        self.stats = stats
        self.running: list[Request] = []
        self.waiting = make_queue(config.scheduling_policy)
        self.holding = make_queue(config.scheduling_policy)  # waiting with KV blocks: remote prefills
        self.num_deferred = 0
        self.in_flight: deque[ScheduledStep] = deque()
        self.paused: Literal["no", "new", "all"] = "no"
        self._order = 0
        self.max_active = config.max_active  # read with every step
        self.token_budget = config.token_budget

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) + len(self.holding)

    @property
    def num_unfinished(self) -> int:
        return len(self.running) + len(self.waiting) + len(self.holding)

    def add(self, request: Request) -> None:
        self.waiting.push(request)
        if self.loras is not None and request.lora is not None:
            self.loras.enter_waiting(request.lora)

    def abort(self, request: Request, now: float) -> None:
        """End a request from outside, whatever it is doing; its blocks are free at once."""
        was_running = request.status is RUNNING
        if was_running:
            self.running.remove(request)
        else:
            self.drop_waiting(request)
            ready = request.remote_ready_time
            if request.status is REMOTE and ready is not None and ready > now:
                self.transfers.hold(request, ready)
        request.finish_reason = request.finish_reason or FinishReason.ABORT
        self.leave(request, now, was_running)

    def drop_waiting(self, request: Request) -> None:
        queue = self.holding if request.block_ids else self.waiting
        queue.remove(request)
        if request.deferred:
            request.deferred = False
            self.num_deferred -= 1

    def leave(self, request: Request, now: float, was_running: bool) -> None:
        """The request has ended; it is in no queue any more."""
        request.status = FINISHED
        request.due = None
        request.silent = False
        request.quiet_until = -1
        if not self.transfers.finished(request, now):
            self.kv.free(request)
        if self.loras is not None and request.lora is not None:
            if was_running:
                self.loras.stop(request.lora)
            else:
                self.loras.leave_waiting(request.lora)

    def enlist(self, request: Request) -> None:
        """Append to the running list."""
        self._order += 1
        request.order = self._order
        self.running.append(request)

    def count_lookup(self, request: Request, hit_tokens: int) -> None:
        """Prefix cache statistics of one look-up; 0.33 does not publish those of preempted requests."""
        if request.sampling.skip_reading_prefix_cache:
            return
        if self.kv.caching and (not request.num_preemptions or self.config.prefix_queries == "lookup"):
            self.stats.prefix_cache_queries += request.num_tokens
            self.stats.prefix_cache_hits += hit_tokens

    def reserved_blocks(self) -> int:
        """Blocks that requests still prefilling or being pulled will need to get all their tokens in."""
        prefilling = [
            r for r in self.running if r.num_computed_tokens < r.num_tokens + r.num_output_placeholders
        ]
        pulled = [r for r in self.holding if r.status is REMOTE]
        blocks_for, spec = self.kv.blocks_for, self.config.spec
        ahead = 1 + spec.num_tokens + spec.lookahead if spec is not None else 0  # their first drafts
        wanted = (blocks_for(r.num_tokens + ahead) - len(r.block_ids) for r in (*prefilling, *pulled))
        return sum(max(blocks, 0) for blocks in wanted) + blocks_for(ahead)

    def check_invariants(self) -> None:
        """Raise InvariantError where queues, counters and statuses contradict each other."""
        if len(self.running) > self.config.max_num_seqs:
            raise InvariantError(f"{len(self.running)} running, max_num_seqs is {self.config.max_num_seqs}")
        if any(request.status is not RUNNING for request in self.running):
            raise InvariantError("a request in the running list has another status")
        waiting = [*self.waiting, *self.holding]
        if any(request.status in (RUNNING, FINISHED) for request in waiting):
            raise InvariantError("a waiting request has a status of running or finished ones")
        if sum(request.deferred for request in waiting) != self.num_deferred:
            raise InvariantError(f"num_deferred is {self.num_deferred}")
        if any(request.block_ids for request in self.waiting):
            raise InvariantError("a request in the waiting queue holds blocks")
        for request in self.running:
            if len(request.block_ids) < self.kv.blocks_for(request.num_computed_tokens):
                raise InvariantError(f"{request.request_id} has computed more tokens than it has blocks for")
