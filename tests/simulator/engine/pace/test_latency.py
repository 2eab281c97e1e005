"""Durations: exact where they are fixed, repeatable where they are drawn."""

from __future__ import annotations

import statistics
from dataclasses import replace
from random import Random

import pytest

from simulator.engine.pace.latency import (
    BatchShape,
    ConstantLatency,
    ConstantTimes,
    HostOverhead,
    LatencyModel,
    StepCoefficients,
    StepModel,
    TransferTimes,
    ZeroLatency,
)
from simulator.engine.pace.profiles import PROFILES
from simulator.engine.request import LoRARequest, Request
from simulator.errors import ConfigError

RTX = StepCoefficients(17040, 34.26, 89.91, 192, 6.506, 0.1414, 0.003838)
HOST = HostOverhead(2000, 10)
LORA = LoRARequest("a", 1)


def request(prompt: int = 5, cached: int = -1, **transfer: object) -> Request:
    asked = Request("r", [7] * prompt, kv_transfer_params=dict(transfer) or None)
    asked.num_cached_tokens = cached
    return asked


def prefill(model: LatencyModel, asked: Request, tokens: int | None = None, running: int = 1) -> float:
    uncached = asked.num_prompt_tokens - max(asked.num_cached_tokens, 0)
    return model.sequence_seconds(asked, uncached if tokens is None else tokens, True, running)


def decode(model: LatencyModel, running: int = 1) -> float:
    return model.sequence_seconds(request(), 1, False, running)


def test_the_step_is_the_sum_of_its_terms() -> None:
    batch = BatchShape(300, 2, 45000.0, 10, 8000)
    micros = (
        17040
        + 2000
        + 34.26 * 192
        + 89.91 * (310 - 192)
        + (6.506 + 10) * 12
        + 0.1414 * 8000
        + 0.003838 * 45000
    )
    assert StepModel(RTX, HOST).step_seconds(batch) == pytest.approx(micros * 1e-6, rel=1e-12)


def test_a_step_below_the_knee() -> None:
    micros = 17040 + 34.26 * 3 + 6.506 * 3 + 0.1414 * 600
    assert StepModel(RTX).step_seconds(BatchShape(0, 0, 0.0, 3, 600)) == pytest.approx(micros * 1e-6)


def test_an_empty_step_takes_no_time() -> None:
    assert StepModel(RTX, HOST).step_seconds(BatchShape()) == 0.0


def test_decode_steps_lie_on_their_line_bit_for_bit() -> None:
    model = StepModel(RTX, HOST)
    rng = Random(1)
    for factor in (1.0, 1.7, 0.3):
        model.factor = factor
        for _ in range(300):
            decodes, kv = rng.randint(1, 512), rng.randint(1, 10**6)
            line = model.decode_line(decodes)
            assert line is not None
            assert model.step_seconds(BatchShape(0, 0, 0.0, decodes, kv)) == line[0] + line[1] * kv


def test_the_factor_scales_every_duration() -> None:
    transfer = TransferTimes(kv_per_token=1e-6, lora_load=0.5)
    model = StepModel(RTX, HOST, transfer)
    batch = BatchShape(300, 2, 45000.0, 10, 8000)
    before = (
        model.step_seconds(batch),
        model.kv_transfer_seconds(request(), 100),
        model.lora_load_seconds(LORA),
    )
    model.factor = 2.0
    after = (
        model.step_seconds(batch),
        model.kv_transfer_seconds(request(), 100),
        model.lora_load_seconds(LORA),
    )
    assert after == pytest.approx([2 * seconds for seconds in before])


def test_jitter_is_seeded_and_unbiased() -> None:
    batch = BatchShape(0, 0, 0.0, 8, 4000)
    mean = StepModel(RTX).step_seconds(batch)

    def run(seed: int) -> list[float]:
        model = StepModel(RTX, jitter=0.05, seed=seed)
        assert model.decode_line(8) is None
        return [model.step_seconds(batch) for _ in range(500)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert statistics.mean(run(3)) == pytest.approx(mean, rel=0.01)


def test_bad_coefficients_are_refused() -> None:
    with pytest.raises(ConfigError, match="c4"):
        replace(RTX, c4=-1)
    with pytest.raises(ConfigError, match="c0"):
        replace(RTX, c0=float("nan"))
    with pytest.raises(ConfigError, match="host overhead"):
        HostOverhead(-1, 0)


def test_zero() -> None:
    model: LatencyModel = ZeroLatency()
    assert model.step_seconds(BatchShape(10, 1, 50.0, 3, 7)) == 0.0
    assert model.decode_line(3) == (0.0, 0.0)
    assert model.kv_transfer_seconds(request(), 10) == model.lora_load_seconds(LORA) == 0.0


def test_constant_prefill() -> None:
    model = ConstantLatency(
        ConstantTimes(time_to_first_token=0.2, inter_token_latency=0.0207, prefill_overhead=9.0)
    )
    assert prefill(model, request(100)) == 0.2
    assert decode(model) == 0.0207
    assert model.decode_line(3) is None


def test_prefill_per_token_counts_what_is_not_cached() -> None:
    model = ConstantLatency(ConstantTimes(prefill_overhead=1.0, prefill_time_per_token=0.05))
    assert prefill(model, request(5)) == pytest.approx(1.25)
    assert prefill(model, request(100, cached=90)) == pytest.approx(1.5)


def test_the_calculator_forces_a_form() -> None:
    times = ConstantTimes(time_to_first_token=0.2, prefill_overhead=1.0, calculator="per-token")
    assert prefill(ConstantLatency(times), request(5)) == 1.0
    assert prefill(ConstantLatency(replace(times, calculator="constant")), request(5)) == 0.2


def test_chunks_share_the_prefill_time() -> None:
    model = ConstantLatency(ConstantTimes(time_to_first_token=1.0))
    assert prefill(model, request(1000), 250) == 0.25
    assert prefill(model, request(1000, cached=500), 100) == 0.2


def test_load_slows_down_from_the_second_request_on() -> None:
    times = ConstantTimes(
        time_to_first_token=0.1, inter_token_latency=0.01, time_factor_under_load=3.0, max_num_seqs=5
    )
    model = ConstantLatency(times)
    assert [prefill(model, request(), running=n) for n in (0, 1, 3, 5)] == pytest.approx([0.1, 0.1, 0.2, 0.3])
    assert [decode(model, n) for n in (1, 5)] == pytest.approx([0.01, 0.03])
    alone = ConstantLatency(replace(times, max_num_seqs=1))
    assert decode(alone, 1) == 0.01


def test_microseconds_count() -> None:
    assert decode(ConstantLatency(ConstantTimes(inter_token_latency=0.000_9))) == 0.000_9


def test_deviations_are_held_within_their_bounds_and_seeded() -> None:
    times = ConstantTimes(inter_token_latency=0.1, inter_token_latency_std_dev=0.03)

    def run(seed: int) -> list[float]:
        model = ConstantLatency(times, seed=seed)
        return [decode(model) for _ in range(5000)]

    drawn = run(1)
    assert drawn == run(1)
    assert drawn != run(2)
    assert min(drawn) >= 0.03 - 1e-12
    assert max(drawn) <= 0.17 + 1e-12
    assert statistics.mean(drawn) == pytest.approx(0.1, rel=0.02)
    assert statistics.stdev(drawn) == pytest.approx(0.03, rel=0.05)


def test_a_remote_prefill_costs_its_transfer_alone() -> None:
    transfer = TransferTimes(kv_latency=0.4, kv_per_token=9.0)
    model = ConstantLatency(ConstantTimes(time_to_first_token=1.0, transfer=transfer))
    asked = request(100, do_remote_prefill=True)
    assert model.kv_transfer_seconds(asked, 100) == 0.4
    assert prefill(model, asked, 1) == 0.0
    per_token = ConstantLatency(ConstantTimes(transfer=TransferTimes(kv_per_token=0.001)))
    assert per_token.kv_transfer_seconds(asked, 100) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_to_first_token": -1.0}, "time to first token cannot be negative"),
        (
            {"time_to_first_token": 1.0, "time_to_first_token_std_dev": 0.31},
            "time to first token standard deviation cannot be more than 30% of time to first token",
        ),
        ({"inter_token_latency_std_dev": 0.1}, "inter token latency standard deviation"),
        ({"time_factor_under_load": 0.9}, "time factor under load cannot be less than 1.0"),
        ({"calculator": "x"}, "unknown latency-calculator x"),
        ({"transfer": TransferTimes(kv_latency=1.0, kv_latency_std_dev=0.5)}, "kv-cache transfer latency"),
    ],
)
def test_bad_times_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConstantTimes(**settings)  # type: ignore[arg-type]


def test_thirty_percent_itself_is_allowed() -> None:
    ConstantTimes(time_to_first_token=0.7, time_to_first_token_std_dev=0.21)


# raw points of the tables that the profiles were fitted to, kernel milliseconds
@pytest.mark.parametrize(
    ("name", "batch", "millis"),
    [
        ("llama-3.1-8b/h100", BatchShape(1024, 1, 1024 * 512.0, 0, 0), 22.1),
        ("llama-3.1-8b/h100", BatchShape(8192, 1, 8192 * 4096.0, 0, 0), 199.7),
        ("llama-3.1-8b/h100", BatchShape(0, 0, 0.0, 32, 32 * 2048), 9.63),
        ("llama-3.1-8b/h100", BatchShape(0, 0, 0.0, 256, 256 * 2048), 30.7),
        ("llama-3.1-8b/a100", BatchShape(2048, 1, 2048 * 1024.0, 0, 0), 125),
        ("llama-3.1-8b/l40s", BatchShape(0, 0, 0.0, 128, 128 * 1024), 53.3),
        ("llama-3.1-8b/h200", BatchShape(0, 0, 0.0, 128, 128 * 1024), 9.94),
        ("llama-3.1-70b/h100-tp4", BatchShape(2048, 1, 2048 * 1024.0, 0, 0), 130),
        ("qwen2.5-7b/h100", BatchShape(0, 0, 0.0, 128, 128 * 1024), 9.29),
    ],
)
def test_profiles_agree_with_their_tables(name: str, batch: BatchShape, millis: float) -> None:
    profile = PROFILES[name]
    assert StepModel(profile.coefficients).step_seconds(batch) * 1e3 == pytest.approx(millis, rel=0.09)


def test_the_table_of_profiles() -> None:
    assert len(PROFILES) == 15
    for name, profile in PROFILES.items():
        assert name == profile.name
        assert profile.num_gpu_blocks > 1000
        assert profile.source
        assert profile.host.per_step_us > 0 or profile.host_source == "in the coefficients"
        assert profile.checked or not profile.api_us, "a constant of the API comes from whole servers"
    assert PROFILES["llama-3.1-8b/rtx-4090"].num_gpu_blocks == 2588


@pytest.mark.parametrize("name", ["llama-3.1-8b/rtx-4090", "qwen2.5-7b/h100"])
def test_estimated_capacity_meets_the_measured_one(name: str) -> None:
    estimated = replace(PROFILES[name], measured_gpu_blocks=None).num_gpu_blocks
    assert estimated == pytest.approx(PROFILES[name].num_gpu_blocks, rel=0.02)
