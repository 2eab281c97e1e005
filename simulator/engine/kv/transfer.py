"""P/D disaggregation inside one engine: KV pulled from a prefill server, KV handed to a decode server.

The protocol is vLLM's NIXL connector in pull mode: a request with `do_remote_decode` ends with
kv_transfer_params that say where its blocks lie; a request with `do_remote_prefill` carries these and its
prompt is pulled instead of computed. The two engines do not talk: a prefill engine keeps the blocks for as
long as a pull takes and then frees them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.request import FinishReason, Request, RequestStatus
from simulator.engine.stats import KV_FETCH_STAGES, EngineStats


class Transfers:
    """Starts pulls, answers for finished prefills, and frees blocks whose lease has ended."""

    __slots__ = ("_config", "_kv", "_latency", "held", "instant", "used")

    def __init__(self, config: EngineConfig, kv: KVCacheManager, latency: LatencyModel) -> None:
        self._config = config
        self._kv = kv
        self._latency = latency
        self.held: list[
            tuple[float, list[int]]
        ] = []  # blocks of requests that are gone, with their end of lease
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
        request.remote_ready_time = self._end(now, self._latency.kv_transfer_seconds(request, num_tokens))

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
        request.kv_transfer_output = self._hand_off(request)
        lease = self._end(now, self._latency.kv_transfer_seconds(request, request.num_computed_tokens))
        self.held.append((lease, self._kv.detach(request)))
        return True

    def hold(self, request: Request, until: float) -> None:
        """Keep the blocks of an aborted request while a pull still writes into them."""
        self.held.append((until, self._kv.detach(request)))

    def times(self, holding: Iterable[Request], after: float) -> list[float]:
        """When something that is under way ends, later than `after`."""
        ready = [r.remote_ready_time for r in holding if r.status is RequestStatus.WAITING_FOR_REMOTE_KVS]
        return [t for t in (*ready, *(end for end, _ in self.held)) if t is not None and t > after]

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
            for end, blocks in self.held:
                if end <= now:
                    self._kv.pool.free(blocks)
            self.held = [(end, blocks) for end, blocks in self.held if end > now]

    def _hand_off(self, request: Request) -> dict[str, Any]:
        config = self._config
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": list(request.block_ids),
            "remote_engine_id": config.kv_engine_id,
            "remote_request_id": request.request_id,
            "remote_host": config.kv_host,
            "remote_port": config.kv_port,
            "tp_size": config.kv_tp_size,
            "remote_num_tokens": request.num_computed_tokens,
        }
