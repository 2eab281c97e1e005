"""vllm:lora_requests_info in its three meanings."""

from __future__ import annotations

import re
import time

from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.stats import EngineStats
from simulator.server.metrics.lora_info import LoRAInfo
from tests.simulator.server.inprocess import request


def series(info: LoRAInfo) -> list[tuple[str, str, float]]:
    found = re.findall(
        r'\{max_lora="2",running_lora_adapters="([^"]*)",waiting_lora_adapters="([^"]*)"\} (\S+)',
        info.render(),
    )
    return [(running, waiting, float(value)) for running, waiting, value in found]


def step(with_output: bool = True) -> StepOutput:
    now = time.monotonic()
    outputs = [RequestOutput(request("r"), [1], "x", now)] if with_output else []
    return StepOutput(step=0, start=now, end=now, outputs=outputs)


def test_epp_one_series_running_and_waiting_apart() -> None:
    stats = EngineStats(1024)
    info = LoRAInfo(stats, 2, "current")
    assert not info.wants_steps
    [(running, waiting, value)] = series(info)
    assert (running, waiting) == ("", "")
    assert abs(value - time.time()) < 5
    stats.lora_running, stats.lora_waiting = ("a", "b"), ("c",)
    stats.lora_time = time.monotonic()
    [(running, waiting, value)] = series(info)
    assert (running, waiting) == ("a,b", "c")
    assert abs(value - time.time()) < 5
    assert value != int(value)
    stats.lora_running, stats.lora_waiting = (), ()
    assert [(r, w) for r, w, _ in series(info)] == [("", "")]


def test_033_both_labels_list_the_active_and_old_series_stay() -> None:
    stats = EngineStats(1024)
    info = LoRAInfo(stats, 2, "active")
    assert info.wants_steps
    assert series(info) == []
    for active in (("a",), ("a", "b"), ()):
        stats.lora_active = active
        info.on_step(step(with_output=False))
    found = series(info)
    assert [(r, w) for r, w, _ in found] == [("a", "a"), ("a,b", "a,b"), ("", "")]
    assert [value for *_, value in found] == sorted(value for *_, value in found)


def test_011_apart_and_only_with_outputs() -> None:
    stats = EngineStats(1024)
    info = LoRAInfo(stats, 2, "with-outputs")
    stats.lora_running, stats.lora_waiting = ("a",), ("b",)
    info.on_step(step(with_output=False))
    assert series(info) == []
    info.on_step(step())
    assert [(r, w) for r, w, _ in series(info)] == [("a", "b")]


def test_fixed_series_for_fake_metrics() -> None:
    info = LoRAInfo(EngineStats(1024), 2, "current")
    info.show([("l1,l2", "l3", 1234567890.0)])
    assert series(info) == [("l1,l2", "l3", 1234567890.0)]
