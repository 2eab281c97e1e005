"""vLLM's statistics line: throughputs over the interval they are of, the first included."""

from __future__ import annotations

import asyncio
import logging
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from simulator.engine.spec.settings import SpecStats
from simulator.engine.stats import EngineStats
from simulator.server.replica import Replica
from simulator.server.stats_log import StatsLine, log_stats
from tests.waiting import until_async


def throughputs(text: str) -> tuple[float, float]:
    found = re.search(
        r"prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) tokens/s", text
    )
    assert found is not None
    return float(found[1]), float(found[2])


def test_throughputs_are_over_the_time_since_the_last_line() -> None:
    stats = EngineStats(max_model_len=4096)
    line = StatsLine(0, "", since=100.0)
    stats.prompt_tokens_local_compute, stats.generation_tokens = 50, 200
    assert throughputs(line.line(stats, 110.0)[0]) == (5.0, 20.0)
    stats.generation_tokens = 220
    assert throughputs(line.line(stats, 114.0)[0]) == (0.0, 5.0)


def test_idle_once_is_said_and_idle_twice_is_not() -> None:
    line = StatsLine(0, "", since=0.0)
    assert [line.line(EngineStats(max_model_len=4096), now)[1] for now in (10.0, 20.0)] == [False, True]


def test_the_first_line_counts_from_the_start_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    stats = EngineStats(max_model_len=4096)
    stats.generation_tokens = 1000
    replica: Any = SimpleNamespace(name="a", rank=0, engine=SimpleNamespace(stats=stats))
    replica.peers = [replica]

    async def until_the_first_line() -> None:
        logging_task = asyncio.create_task(log_stats(lambda: [cast(Replica, replica)], 0.05, named=True))
        await until_async(lambda: caplog.messages)
        logging_task.cancel()

    logger = logging.getLogger("simfleet")
    logger.addHandler(caplog.handler)  # it does not propagate once logs are set up
    try:
        with caplog.at_level(logging.INFO, "simfleet"):
            asyncio.run(until_the_first_line())
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages[0].startswith("a Engine 000: ")
    assert 0 < throughputs(caplog.messages[0])[1] <= 1000 / 0.05


def test_the_line_on_drafts() -> None:
    stats = EngineStats(1024)
    line = StatsLine(0, "", 0.0)
    assert line.drafts(stats, 1.0) is None
    stats.spec = SpecStats(2)
    assert line.drafts(stats, 1.0) is None
    for accepted in (2, 1, 0, 2):
        stats.spec.observe(2, accepted)
    assert line.drafts(stats, 10.0) == (
        "SpecDecoding metrics: Mean acceptance length: 2.25, Accepted throughput: 0.50 tokens/s, "
        "Drafted throughput: 0.80 tokens/s, Accepted: 5 tokens, Drafted: 8 tokens, "
        "Per-position acceptance rate: 0.750, 0.500, Avg Draft acceptance rate: 62.5%"
    )
    assert line.drafts(stats, 20.0) is None
