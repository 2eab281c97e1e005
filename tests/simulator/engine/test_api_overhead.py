"""What the API adds to a request before the engine has it, on a virtual clock."""

from __future__ import annotations

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.pace.latency import StepCoefficients, StepModel
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.text_source import ConstantText

STEP = StepModel(StepCoefficients(c0=10_000.0, c1=0.0, c2=0.0, k=1, c3=0.0, c4=0.0, c5=0.0))


def times(overhead: float) -> tuple[Request, float]:
    engine = Engine(EngineConfig(api_overhead=overhead, async_scheduling=False), STEP, ConstantText(7), None)
    request = Request("a", [1, 2, 3], SamplingParams(max_tokens=4, ignore_eos=True), stream=False)
    engine.add_request(request, 1.0)
    end = 0.0
    while (due := engine.peek()) is not None:
        end = engine.step(due).end
    return request, end


@pytest.mark.parametrize("overhead", [0.0, 0.25])
def test_it_is_added_to_the_first_token_and_to_nothing_else(overhead: float) -> None:
    request, end = times(overhead)
    assert request.arrival_time == 1.0
    assert request.queued_time == 1.0 + overhead
    assert request.first_token_time == pytest.approx(1.0 + overhead + 0.01, abs=1e-12)
    assert end == pytest.approx(1.0 + overhead + 0.04, abs=1e-12)


def test_who_leaves_before_the_engine_has_it_leaves_nothing() -> None:
    engine = Engine(EngineConfig(api_overhead=0.5), STEP, ConstantText(7), None)
    engine.add_request(Request("a", [1], SamplingParams(max_tokens=4), stream=False), 1.0)
    engine.abort(["a"], 1.25)
    while (due := engine.peek()) is not None:
        engine.step(due)
    assert engine.num_unfinished == 0
    assert engine.stats.time_to_first_token_seconds.count == 0
