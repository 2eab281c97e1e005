"""P/D disaggregation inside one engine: KV pulled from a prefill server, KV handed to a decode server.

The protocol is that of vLLM's NIXL connector in pull mode (`nixl/pull_scheduler.py`, `base_scheduler.py`): a
request with `do_remote_decode` ends with kv_transfer_params that say where its blocks lie; a request with
`do_remote_prefill` carries these and its prompt is pulled instead of computed.

Engines talk through a `Link`, if they have one: a puller asks whether the blocks are still there and says
when it has them; blocks that nobody fetched are freed when their lease ends. Without a link a pull works, and
a prefill engine keeps its blocks for as long as one takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.request import FinishReason, Request, RequestStatus
from simulator.engine.stats import KV_FETCH_STAGES, EngineStats

_DESCRIPTORS_PER_BLOCK = 64  # keys and values of 32 layers


class Link(Protocol):
    """The way from an engine to those that it pulls from."""

    def has_blocks(self, params: Mapping[str, Any], now: float) -> bool:
        """Whether the blocks of kv_transfer_params can be read at `now`."""

    def fetched(self, params: Mapping[str, Any], now: float) -> None:
        """They have been read: who holds them may free them."""


@dataclass(slots=True)
class Lease:
    """Blocks of a request that is gone, kept until `end`. `request_id`: who fetches them names it."""

    end: float
    blocks: list[int]
    request_id: str | None = None  # None: a pull still writes into them


class Transfers:
    """Starts pulls, answers for finished prefills, and frees blocks whose lease has ended.

    `link` None: nobody tells this engine of fetches, and nobody is asked.
    """

    __slots__ = (
        "_config", "_kv", "_latency", "_pulls", "_stats", "engine_id", "held", "instant", "link", "used",
    )  # fmt: skip

    def __init__(
        self, config: EngineConfig, kv: KVCacheManager, latency: LatencyModel, stats: EngineStats
    ) -> None:
        self._config = config
        self._kv = kv
        self._latency = latency
        self._stats = stats
        self._pulls: list[Request] = []  # under way
        self.engine_id = config.kv_engine_id
        self.link: Link | None = None
        self.held: list[Lease] = []
        self.instant = False  # something has ended with the boundary that began it: there must be another
        self.used = False  # a request with kv_transfer_params has been seen

    def is_remote_prefill(self, request: Request) -> bool:
        """Whether the request's prompt is to be pulled and has not been yet."""
        params = request.kv_transfer_params
        return (
            params is not None
            and self._config.kv_connector
            and bool(params.get("do_remote_prefill"))
            and request.remote_ready_time is None
        )

    def external_tokens(self, request: Request, local: int) -> int:
        """Prompt tokens that a pull will bring, beyond the `local` ones of the prefix cache."""
        return max(request.num_prompt_tokens - local, 0) if self.is_remote_prefill(request) else 0

    def start(self, request: Request, num_tokens: int, now: float) -> None:
        """Begin a pull; one whose blocks are gone takes its time too, and then turns out to have failed."""
        seconds = self._latency.kv_transfer_seconds(request, num_tokens)
        request.remote_ready_time = self._end(now, seconds)
        params = request.kv_transfer_params or {}
        request.remote_failed = self.link is not None and not self.link.has_blocks(params, now)
        self._pulls.append(request)
        if not request.remote_failed:
            self._stats.nixl_xfer_time_seconds.observe(seconds)
            self._stats.nixl_post_time_seconds.observe(0.0)
            self._stats.nixl_bytes_transferred.observe(num_tokens * self._config.kv_bytes_per_token)
            blocks = self._kv.blocks_for(num_tokens)
            self._stats.nixl_num_descriptors.observe(blocks * _DESCRIPTORS_PER_BLOCK)

    def settle(self, now: float) -> list[Request]:
        """Take note of pulls that have ended; returns those that failed where a failure ends the request."""
        if not self._pulls:
            return []
        ended = [r for r in self._pulls if r.remote_ready_time is not None and r.remote_ready_time <= now]
        if not ended:
            return []
        self._pulls = [r for r in self._pulls if r not in ended]
        failed: list[Request] = []
        for request in ended:
            if request.remote_failed:
                self._stats.nixl_failed_transfers += 1
                if self._config.kv_load_failure_policy == "fail":
                    failed.append(request)
            elif self.link is not None:
                self.link.fetched(request.kv_transfer_params or {}, now)
        return [request for request in failed if request.status is RequestStatus.WAITING_FOR_REMOTE_KVS]

    def _end(self, now: float, seconds: float) -> float:
        if now + seconds <= now:
            self.instant = True
        return now + seconds

    def finished(self, request: Request, now: float) -> bool:
        """Set the kv_transfer_params of a finished prefill; True: its blocks are kept, detached from it."""
        params = request.kv_transfer_params
        if params is None or not self._config.kv_connector or not params.get("do_remote_decode"):
            return False
        if request.finish_reason not in (FinishReason.LENGTH, FinishReason.STOP) or not request.block_ids:
            return False
        request.kv_transfer_output = self._hand_off(request, params)
        seconds = self._config.kv_lease_seconds
        if self.link is None:
            seconds = self._latency.kv_transfer_seconds(request, request.num_computed_tokens)
        self.held.append(Lease(self._end(now, seconds), self._kv.detach(request), request.request_id))
        return True

    def hold(self, request: Request, until: float) -> None:
        """Keep the blocks of an aborted request while a pull still writes into them."""
        self.held.append(Lease(until, self._kv.detach(request)))

    def holds(self, request_id: str) -> bool:
        """Whether the blocks of a finished prefill are still here."""
        return any(lease.request_id == request_id for lease in self.held)

    def let_go(self, request_id: str) -> bool:
        """Somebody has fetched these blocks; False: they are here no more."""
        for lease in self.held:
            if lease.request_id == request_id:
                self.held.remove(lease)
                self._kv.pool.free(lease.blocks)
                return True
        self._stats.nixl_notifications_after_expiry += 1
        return False

    def times(self, holding: Iterable[Request], after: float) -> list[float]:
        """When something that is under way ends, later than `after`."""
        ready = [r.remote_ready_time for r in holding if r.status is RequestStatus.WAITING_FOR_REMOTE_KVS]
        return [t for t in (*ready, *(lease.end for lease in self.held)) if t is not None and t > after]

    def report(
        self, stats: EngineStats, waiting: Iterable[Request], holding: Iterable[Request], now: float
    ) -> None:
        """Set the requests that fetch KV, by stage."""
        ready = [r.remote_ready_time for r in holding if r.remote_ready_time is not None]
        done = sum(1 for time in ready if time <= now)
        started = sum(1 for request in waiting if self.is_remote_prefill(request))
        stats.kv_fetch_by_stage = dict(zip(KV_FETCH_STAGES, (started, len(ready) - done, done), strict=True))

    def release(self, now: float) -> None:
        """Free what is kept no longer."""
        if self.held:
            for lease in self.held:
                if lease.end <= now:
                    self._kv.pool.free(lease.blocks)
                    if self.link is not None and lease.request_id is not None:
                        self._stats.nixl_kv_expired += 1
            self.held = [lease for lease in self.held if lease.end > now]

    def _hand_off(self, request: Request, params: Mapping[str, Any]) -> dict[str, Any]:
        config = self._config
        blocks = list(request.block_ids)
        told: dict[str, Any] = {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [blocks] if config.kv_hand_off == "groups" else blocks,
            "remote_engine_id": self.engine_id,
            "remote_request_id": request.request_id,
            "remote_host": config.kv_host,
            "remote_port": config.kv_port,
            "tp_size": config.kv_tp_size,
        }
        if config.kv_hand_off == "groups":
            told |= {"dcp_size": config.kv_dcp_size, "pp_size": config.kv_pp_size}
        told["remote_num_tokens"] = request.num_computed_tokens
        if config.kv_hand_off == "groups":
            told |= {
                "remote_blocks_expiry_time": None,
                "remote_registration_generation": 0,
                "transfer_mode": "pull",
                "remote_prefill_cached_tokens": max(request.num_cached_tokens, 0)
                + request.num_external_cached_tokens,
            }
        if params.get("transfer_id") is not None:  # Mooncake's name of a transfer
            told["transfer_id"] = params["transfer_id"]
        return told
