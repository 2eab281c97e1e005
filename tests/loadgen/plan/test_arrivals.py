"""Arrival processes against their theory: rate, coefficient of variation, index of dispersion."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.plan.arrivals import Floats, Schedule, schedule, segments, stream
from loadgen.scenario.presets import PRESETS
from loadgen.scenario.scenario import Arrival, OnOff, Stage

RATE = 100.0
COUNT = 20_000


def make(arrival: Arrival, seed: int = 1, **options: object) -> Schedule:
    return schedule(arrival, stream(seed, "test", "arrivals"), **options)  # type: ignore[arg-type]


def steady(process: str, **options: object) -> Arrival:
    stages = (Stage(duration=COUNT / RATE, rate=RATE),)
    return Arrival(process, stages, **options)  # type: ignore[arg-type]


def cv(offsets: Floats) -> float:
    gaps = np.diff(offsets)
    return float(gaps.std() / gaps.mean())


def dispersion(offsets: Floats, width: float = 0.1) -> float:
    counts = np.bincount((offsets / width).astype(int))[:-1]
    return float(counts.var() / counts.mean())


def split_and_joined(offsets: Floats, workers: int) -> Floats:
    """What a server sees of `workers` workers that each send their slots."""
    return np.sort(np.concatenate([offsets[worker::workers] for worker in range(workers)]))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_constant_is_constant(workers: int) -> None:
    offsets = split_and_joined(make(steady("constant")).offsets, workers)
    assert len(offsets) == COUNT
    assert cv(offsets) < 0.05
    assert offsets[0] == 0.0
    assert np.allclose(np.diff(offsets), 1 / RATE, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_is_poisson(workers: int, seed: int) -> None:
    offsets = split_and_joined(make(steady("poisson"), seed).offsets, workers)
    assert len(offsets) == pytest.approx(COUNT, rel=0.03)
    assert cv(offsets) == pytest.approx(1.0, abs=0.05)
    assert dispersion(offsets) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("burstiness", [0.1, 0.25, 0.5, 1.0, 4.0])
def test_gamma_has_the_cv_that_its_burstiness_says(burstiness: float) -> None:
    offsets = make(steady("gamma", burstiness=burstiness)).offsets
    expected = burstiness**-0.5
    assert cv(offsets) == pytest.approx(expected, rel=0.06)
    assert len(offsets) == pytest.approx(COUNT, rel=0.03 * max(1.0, expected))
    assert dispersion(offsets, 1.0) == pytest.approx(1 / burstiness, rel=0.3)


def test_the_same_seed_gives_the_same_times_and_another_seed_others() -> None:
    first, again, other = make(steady("poisson")), make(steady("poisson")), make(steady("poisson"), 2)
    assert np.array_equal(first.offsets, again.offsets)
    assert not np.array_equal(first.offsets[:100], other.offsets[:100])


def test_streams_of_different_purposes_are_independent() -> None:
    a, b = (stream(1, name, "arrivals").random(2000) for name in ("a", "b"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1


@pytest.mark.parametrize("process", ["constant", "poisson", "gamma"])
def test_an_asked_number_of_requests_is_kept_exactly(process: str) -> None:
    stages = (Stage(duration=float("inf"), rate=RATE),)
    assert len(make(Arrival(process, stages, requests=1234)).offsets) == 1234  # type: ignore[arg-type]


def test_bursts_start_at_one_instant() -> None:
    offsets = make(Arrival("burst", size=5, every=2.0, duration=6.0)).offsets
    assert offsets.tolist() == [0.0] * 5 + [2.0] * 5 + [4.0] * 5
    limited = make(Arrival("burst", size=5, every=2.0, requests=7)).offsets
    assert limited.tolist() == [0.0] * 5 + [2.0] * 2


def test_stages_have_their_own_rates() -> None:
    stages = (Stage(100.0, 10.0), Stage(50.0, 0.0), Stage(100.0, 50.0))
    result = make(Arrival("poisson", stages))
    counts = np.bincount(result.stages, minlength=3)
    assert counts[0] == pytest.approx(1000, abs=130)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(5000, abs=300)
    assert result.offsets[result.stages == 2].min() >= 150.0


@pytest.mark.parametrize("shape", ["linear", "exponential"])
def test_a_ramp_follows_its_curve(shape: str) -> None:
    stage = Stage(100.0, 10.0, end_rate=200.0, shape=shape)  # type: ignore[arg-type]
    offsets = make(Arrival("constant", (stage,))).offsets
    for at in (10.0, 50.0, 90.0):
        seen = np.sum((offsets >= at - 2) & (offsets < at + 2)) / 4
        share = at / 100
        wanted = 10 * 20**share if shape == "exponential" else 10 + 190 * share
        assert seen == pytest.approx(wanted, rel=0.05)


def test_a_poisson_ramp_is_poisson_in_its_own_time() -> None:
    stage = Stage(200.0, 10.0, end_rate=190.0)
    offsets = make(Arrival("poisson", (stage,))).offsets
    slope = 180.0 / 200.0
    operational = 10 * offsets + slope * offsets**2 / 2
    assert cv(operational) == pytest.approx(1.0, abs=0.05)


def test_on_and_off_periods() -> None:
    arrival = Arrival("poisson", (Stage(100.0, 50.0),), on_off=OnOff(on=5.0, off=5.0, off_rate=0.1))
    offsets = make(arrival).offsets
    inside = np.sum(offsets % 10 < 5)
    assert inside == pytest.approx(2500, abs=200)
    assert len(offsets) - inside == pytest.approx(250, abs=70)


def test_random_on_and_off_periods_have_their_mean_length() -> None:
    parts = segments((Stage(10_000.0, 1.0),), OnOff(on=2.0, off=3.0, random=True), stream(1, "x"))
    on = [part.duration for part in parts if part.rate > 0]
    off = [part.duration for part in parts if part.rate == 0]
    assert np.mean(on) == pytest.approx(2.0, rel=0.1)
    assert np.mean(off) == pytest.approx(3.0, rel=0.1)
    assert sum(on) + sum(off) == pytest.approx(10_000.0)


def test_clients_of_a_preset_share_the_load_by_rank() -> None:
    arrival = Arrival("clients", (Stage(1000.0, 20.0),))
    result = make(arrival, preset=PRESETS["chat"])
    counts = np.sort(np.bincount(result.clients, minlength=PRESETS["chat"].clients))[::-1]
    assert len(result.offsets) == pytest.approx(20_000, rel=0.05)
    assert 0.65 <= counts[:10].sum() / counts.sum() <= 0.95
    assert (np.diff(result.offsets) >= 0).all()


def test_a_trace_keeps_its_times_scaled() -> None:
    trace = np.array([0.0, 1.0, 1.0, 3.0, 10.0])
    result = make(Arrival("trace", time_scale=0.5, duration=2.0), trace=trace)
    assert result.offsets.tolist() == [0.0, 0.5, 0.5, 1.5]


def test_an_offset_moves_a_class() -> None:
    arrival = Arrival("constant", (Stage(1.0, 4.0),), offset=2.0)
    assert make(arrival).offsets.tolist() == [2.0, 2.25, 2.5, 2.75]
