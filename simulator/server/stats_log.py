"""vLLM's statistics line, every ten seconds for each replica that has something to say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from simulator.engine.stats import EngineStats
from simulator.server.logs import logger
from simulator.server.replica import Replica


class StatsLine:
    """The line of one engine; throughputs are over the time since the last one, the first over that since
    `since` (monotonic seconds)."""

    def __init__(self, rank: int, name: str, since: float) -> None:
        self._prefix = f"{name} Engine {rank:03d}: " if name else f"Engine {rank:03d}: "
        self._prompt = self._generated = self._preempted = 0
        self._when = since
        self._was_idle = False
        self._spec: tuple[float, int, int, int, list[int]] = (since, 0, 0, 0, [])

    def drafts(self, stats: EngineStats, now: float) -> str | None:
        """vLLM's line on speculative decoding; None: nothing was drafted since the last one."""
        spec = stats.spec
        if spec is None:
            return None
        when, drafts, drafted, accepted, positions = self._spec
        drafts, drafted, accepted = (
            spec.drafts - drafts,
            spec.draft_tokens - drafted,
            spec.accepted - accepted,
        )
        if not drafts:
            return None
        before = positions or [0] * len(spec.accepted_per_position)
        rates = [
            (now_ - then) / drafts for now_, then in zip(spec.accepted_per_position, before, strict=True)
        ]
        seconds = max(now - when, 1e-9)
        self._spec = (now, spec.drafts, spec.draft_tokens, spec.accepted, list(spec.accepted_per_position))
        return (
            f"SpecDecoding metrics: Mean acceptance length: {1 + accepted / drafts:.2f}, "
            f"Accepted throughput: {accepted / seconds:.2f} tokens/s, "
            f"Drafted throughput: {drafted / seconds:.2f} tokens/s, "
            f"Accepted: {accepted} tokens, Drafted: {drafted} tokens, "
            f"Per-position acceptance rate: {', '.join(f'{rate:.3f}' for rate in rates)}, "
            f"Avg Draft acceptance rate: {accepted / drafted * 100:.1f}%"
        )

    def line(self, stats: EngineStats, now: float) -> tuple[str, bool]:
        """The text, and whether the engine did nothing in this interval nor in the one before."""
        seconds = max(now - self._when, 1e-9)
        computed = stats.prompt_tokens_local_compute  # cached tokens do not count as throughput
        prompt, generated = computed - self._prompt, stats.generation_tokens - self._generated
        preempted = stats.num_preemptions - self._preempted
        self._when, self._prompt, self._generated = now, computed, stats.generation_tokens
        self._preempted = stats.num_preemptions
        parts = [
            f"Avg prompt throughput: {prompt / seconds:.1f} tokens/s",
            f"Avg generation throughput: {generated / seconds:.1f} tokens/s",
            f"Running: {stats.num_requests_running} reqs",
            f"Waiting: {stats.num_requests_waiting} reqs",
        ]
        if stats.num_requests_waiting_deferred:
            parts.append(f"Deferred: {stats.num_requests_waiting_deferred} reqs")
        if preempted:
            parts.append(f"Preemptions: {preempted}")
        parts.append(f"GPU KV cache usage: {stats.kv_cache_usage * 100:.1f}%")
        if stats.prefix_cache_queries:
            rate = stats.prefix_cache_hits / stats.prefix_cache_queries
            parts.append(f"Prefix cache hit rate: {rate * 100:.1f}%")
        idle = not (prompt or generated or stats.num_requests_running or stats.num_requests_waiting)
        was_idle, self._was_idle = self._was_idle, idle
        return self._prefix + ", ".join(parts), idle and was_idle


async def log_stats(replicas: Callable[[], Iterable[Replica]], interval: float, named: bool) -> None:
    """Log for ever; `named` puts the replica's name in front. Idle engines are logged at debug level."""
    lines: dict[tuple[str, int], StatsLine] = {}
    last = time.monotonic()
    while True:
        await asyncio.sleep(interval)
        now = time.monotonic()
        for first in replicas():
            for replica in first.peers:
                key = replica.name, replica.rank
                line = lines.get(key)
                if line is None:
                    line = lines[key] = StatsLine(replica.rank, replica.name if named else "", last)
                text, idle = line.line(replica.engine.stats, now)
                logger.log(logging.DEBUG if idle else logging.INFO, text)
                drafts = line.drafts(replica.engine.stats, now)
                if drafts is not None:
                    logger.info(drafts)
        last = now
