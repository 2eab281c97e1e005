"""LoRA inside the engine: slots, deferral, loading, and what the caches keep."""

from __future__ import annotations

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.request import LoRARequest
from simulator.errors import EngineError
from tests.simulator.engine.build import FixedSteps, engine, request, run, times

ONE, TWO, THREE = (LoRARequest(name, i) for i, name in enumerate(("one", "two", "three"), 1))


def test_max_loras_defers_and_others_overtake() -> None:
    """The recorded experiment lora_exp.txt in small: c waits deferred, the base model overtakes it."""
    made = engine(enable_lora=True, max_loras=2)
    for name, lora in (("a", ONE), ("b", TWO), ("c", THREE), ("d", None), ("e", ONE)):
        made.add_request(request(name, 10, 3 if name == "b" else 6, lora=lora), 0.0)
    steps = run(made, until=1.0)
    stats = made.stats
    assert stats.num_requests_running == 4
    assert (stats.num_requests_waiting_capacity, stats.num_requests_waiting_deferred) == (0, 1)
    steps += run(made)
    assert times(steps, "d")[0] == times(steps, "e")[0] == 1.0
    assert times(steps, "c")[0] == times(steps, "b")[-1] + 1.0


def test_loading_takes_time_once() -> None:
    made = engine(FixedSteps(load=2.0), enable_lora=True)
    made.add_request(request("a", 10, 2, lora=ONE), 0.0)
    steps = run(made)
    made.add_request(request("b", 10, 2, lora=ONE), 10.0)
    steps += run(made)
    assert times(steps, "a") == [3.0, 4.0]
    assert times(steps, "b") == [11.0, 12.0]


def test_an_adapter_can_be_loaded_ahead() -> None:
    made = engine(FixedSteps(load=2.0), enable_lora=True)
    assert made.add_lora(ONE, 1.0) == 3.0
    made.add_request(request("a", 10, 1, lora=ONE), 1.5)
    assert times(run(made), "a") == [4.0]
    with pytest.raises(EngineError, match="enable_lora is off"):
        engine().add_lora(ONE, 0.0)


def test_an_unloaded_adapter_is_loaded_again() -> None:
    made = engine(FixedSteps(load=2.0), enable_lora=True)
    made.add_request(request("a", 10, 5, lora=ONE), 0.0)
    run(made, until=3.0)
    made.remove_lora(1)  # in flight: it ends as if nothing had happened
    assert times(run(made), "a") == [4.0, 5.0, 6.0, 7.0]
    made.add_request(request("b", 10, 1, lora=ONE), 10.0)
    assert times(run(made), "b") == [13.0]


def test_the_host_keeps_the_most_recently_used() -> None:
    loaded: list[str] = []

    def load(lora: LoRARequest) -> float:
        loaded.append(lora.name)
        return 1.0

    manager = LoRAManager(EngineConfig(enable_lora=True, max_loras=1, max_cpu_loras=2), load)
    assert [manager.load(lora) for lora in (ONE, TWO, ONE)] == [1.0, 1.0, 0.0]
    assert manager.snapshot() == {"slots": ["one"], "host": ["two", "one"]}
    manager.load(THREE)  # two has to go
    assert manager.snapshot() == {"slots": ["three"], "host": ["one", "three"]}
    manager.load(TWO)
    assert loaded == ["one", "two", "three", "two"]


def test_adapters_do_not_share_blocks() -> None:
    made = engine(enable_lora=True, max_loras=2, block_size=16)
    seen = []
    for i, (lora, salt) in enumerate([(None, None), (ONE, None), (TWO, None), (ONE, None), (ONE, "salt")]):
        asked = request(f"r{i}", [5] * 40, 1, lora=lora, cache_salt=salt)
        made.add_request(asked, i * 10.0)
        run(made)
        seen.append(asked.num_cached_tokens)
    assert seen == [0, 0, 0, 32, 0]


def test_in_0_11_only_scheduled_adapters_count() -> None:
    def first_token_of_b(scope: str) -> float:
        made = engine(enable_lora=True, max_loras=1, max_num_batched_tokens=16, lora_scope=scope)
        made.add_request(request("a", 10, 4, lora=ONE), 0.0)
        made.add_request(request("b", 10, 1, lora=TWO), 0.0)
        return times(run(made), "b")[0]

    assert first_token_of_b("running") == first_token_of_b("scheduled") == 5.0
