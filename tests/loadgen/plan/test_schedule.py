"""Arrivals to the digit: curves of rates and their inverses, periods, bursts, ends and ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadgen.plan.arrivals import Segment, client_shares, schedule, segments, stream
from loadgen.scenario.presets import PRESETS
from loadgen.scenario.scenario import Arrival, OnOff, Stage


def offsets(arrival: Arrival, seed: int = 1) -> list[float]:
    return schedule(arrival, stream(seed, "a", "arrivals")).offsets.tolist()


def segment(rate: float, end_rate: float, duration: float = 10.0, *, exponential: bool = False) -> Segment:
    return Segment(0.0, duration, rate, end_rate, exponential, 0)


@pytest.mark.parametrize(
    ("part", "expected", "middle"),
    [
        (segment(5, 5), 50.0, 5.0),
        (segment(0, 0), 0.0, 0.0),
        (segment(0, 10), 50.0, 5.0),
        (segment(10, 0), 50.0, 5.0),
        (segment(2, 8), 50.0, 5.0),
        (segment(1, math.e, exponential=True), 10 * (math.e - 1), math.sqrt(math.e)),
        (segment(math.e, 1, exponential=True), 10 * (math.e - 1), math.sqrt(math.e)),
        (segment(4, 4, exponential=True), 40.0, 4.0),
    ],
)
def test_a_segment_counts_and_knows_its_rate(part: Segment, expected: float, middle: float) -> None:
    assert part.expected == pytest.approx(expected, rel=1e-12)
    assert part.rate_at(0) == part.rate
    assert part.rate_at(5) == pytest.approx(middle, rel=1e-12)
    assert part.rate_at(10) == pytest.approx(part.end_rate, rel=1e-12)


def test_times_by_hand() -> None:
    assert segment(4, 4).times(np.array([0.0, 2.0, 40.0])).tolist() == [0.0, 0.5, 10.0]
    # a rate of t: its integral t^2 / 2 is 2 at t = 2 and 8 at t = 4
    assert segment(0, 10).times(np.array([0.0, 2.0, 8.0])).tolist() == [0.0, 2.0, 4.0]
    # a rate of 10 - t: 10 t - t^2 / 2 is 18 at t = 2 and 50 at t = 10
    assert segment(10, 0).times(np.array([0.0, 18.0, 50.0])) == pytest.approx([0.0, 2.0, 10.0])
    # a rate of e^(t/10): 10 (e^(t/10) - 1) is 10 at t = 10 ln 2
    assert segment(1, math.e, exponential=True).times(np.array([10.0])) == pytest.approx([10 * math.log(2)])


@given(
    rate=st.floats(0.01, 1e4),
    end_rate=st.floats(0.01, 1e4),
    duration=st.floats(0.01, 1e4),
    exponential=st.booleans(),
    share=st.floats(0, 1),
)
def test_times_are_the_inverse_of_the_cumulated_rate(
    rate: float, end_rate: float, duration: float, exponential: bool, share: float
) -> None:
    assume(rate == end_rate or abs(math.log(end_rate / rate)) > 1e-3)
    part = segment(rate, end_rate, duration, exponential=exponential)
    (at,) = part.times(np.array([share * part.expected]))
    assert -1e-9 <= at <= duration * (1 + 1e-6)
    so_far = segment(rate, part.rate_at(at), at, exponential=exponential).expected if at > 0 else 0.0
    assert so_far == pytest.approx(share * part.expected, rel=1e-5, abs=1e-6 * part.expected)


@pytest.mark.parametrize("process", ["constant", "poisson", "gamma"])
@pytest.mark.parametrize("ramp", [(0.0, 20.0), (20.0, 0.0)])
def test_ramps_from_and_to_nothing_have_times(process: str, ramp: tuple[float, float]) -> None:
    rate, end_rate = ramp
    found = offsets(Arrival(process, (Stage(10.0, rate, end_rate),)))  # type: ignore[arg-type]
    assert len(found) > 50
    assert all(math.isfinite(at) and 0 <= at <= 10 for at in found)
    assert found == sorted(found)


def test_a_constant_ramp_from_nothing_by_hand() -> None:
    # the integral of 2 t is t^2: the n-th request (from 0) at sqrt(n)
    found = offsets(Arrival("constant", (Stage(4.0, 0.0, 8.0),)))
    assert found == pytest.approx([math.sqrt(n) for n in range(16)], abs=1e-7)


@pytest.mark.parametrize(
    ("arrival", "wanted"),
    [
        (Arrival("constant", (Stage(1.0, 4.0),)), [0.0, 0.25, 0.5, 0.75]),
        (Arrival("constant", (Stage(1.0, 4.0),), requests=2), [0.0, 0.25]),
        (Arrival("constant", (Stage(0.5, 1.0),)), [0.0]),
        (Arrival("constant", (Stage(1.0, 2.0), Stage(1.0, 0.0), Stage(1.0, 1.0))), [0.0, 0.5, 2.0]),
        (Arrival("constant", (Stage(2.0, 2.0),), on_off=OnOff(0.5, 0.5)), [0.0, 1.0]),
        (Arrival("constant", (Stage(2.0, 2.0),), on_off=OnOff(0.5, 0.5, 1.0)), [0.0, 0.5, 1.0, 1.5]),
        (Arrival("constant", (Stage(math.inf, 10.0),), requests=3), [0.0, 0.1, 0.2]),
        (Arrival("constant", (Stage(1.0, 3.0),), offset=1.5), [1.5, 1.8333333, 2.1666667]),
        (Arrival("burst", size=2, every=0.5, duration=1.0), [0.0, 0.0, 0.5, 0.5]),
        (Arrival("burst", size=2, every=0.5, duration=1.0, requests=3), [0.0, 0.0, 0.5]),
        (Arrival("burst", size=2, every=0.5, duration=0.1, requests=3), [0.0, 0.0]),
        (Arrival("burst", size=3, every=1.0, requests=2), [0.0, 0.0]),
        (Arrival("burst", size=1, every=0.3, duration=0.9, offset=1.0), [1.0, 1.3, 1.6]),
    ],
)
def test_exact_schedules(arrival: Arrival, wanted: list[float]) -> None:
    assert offsets(arrival) == wanted


def test_seeded_processes_are_the_same_on_every_machine() -> None:
    """Digits of numpy's PCG64; a change of them would change every published plan."""
    stages = (Stage(1.0, 8.0),)
    assert offsets(Arrival("poisson", stages))[:3] == [0.010125, 0.1850804, 0.3436916]
    assert offsets(Arrival("gamma", stages, burstiness=0.5))[:3] == [0.0300094, 0.2682923, 0.4853279]


@pytest.mark.parametrize("process", ["poisson", "gamma"])
def test_gaps_are_the_cumulated_draws(process: str) -> None:
    """The definition: a request at each sum of gaps of mean 1, stretched by the rate."""
    rng = stream(7, "a", "arrivals")
    size = int(100 + 6 * math.sqrt(100) + 16)
    gaps = rng.exponential(1.0, size) if process == "poisson" else rng.gamma(0.25, 4.0, size)
    points = np.cumsum(gaps)
    arrival = Arrival(process, (Stage(10.0, 10.0),), burstiness=0.25)  # type: ignore[arg-type]
    assert offsets(arrival, 7) == np.round(points[points < 100] / 10, 7).tolist()


@given(
    process=st.sampled_from(["constant", "poisson", "gamma"]),
    rates=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0.1, 5)), min_size=1, max_size=4),
    offset=st.floats(0, 10),
    seed=st.integers(0, 1000),
    on_off=st.one_of(
        st.none(), st.builds(OnOff, st.floats(0.1, 2), st.floats(0.1, 2), st.floats(0, 1), st.booleans())
    ),
)
def test_every_schedule_ascends_inside_its_stages(
    process: str,
    rates: list[tuple[float, float, float]],
    offset: float,
    seed: int,
    on_off: OnOff | None,
) -> None:
    stages = tuple(Stage(duration, rate, end) for rate, end, duration in rates)
    arrival = Arrival(process, stages, offset=offset, on_off=on_off)  # type: ignore[arg-type]
    result = schedule(arrival, stream(seed, "x"))
    assert np.isfinite(result.offsets).all()
    assert (np.diff(result.offsets) >= 0).all()
    assert (np.diff(result.stages) >= 0).all()
    assert len(result.offsets) == len(result.stages) == len(result.clients)
    edges = np.cumsum([0.0, *(stage.duration for stage in stages)]) + offset
    for at, stage in zip(result.offsets, result.stages, strict=True):
        assert edges[stage] - 1e-6 <= at <= edges[stage + 1] + 1e-6


@given(
    stages=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0.1, 5)), min_size=1, max_size=4),
    periods=st.builds(OnOff, st.floats(0.05, 2), st.floats(0.05, 2), st.just(1.0), st.booleans()),
)
def test_cutting_into_periods_loses_nothing(stages: list[tuple[float, float, float]], periods: OnOff) -> None:
    """With an off-rate of 1 the periods change nothing but where segments end."""
    whole = segments(tuple(Stage(d, a, b) for a, b, d in stages), None, stream(1, "x"))
    cut = segments(tuple(Stage(d, a, b) for a, b, d in stages), periods, stream(1, "x"))
    assert sum(part.expected for part in cut) == pytest.approx(sum(part.expected for part in whole), rel=1e-9)
    assert sum(part.duration for part in cut) == pytest.approx(sum(part.duration for part in whole), rel=1e-9)
    at = 0.0
    for part in cut:
        assert part.start == pytest.approx(at, abs=1e-6)
        at = part.start + part.duration


def test_periods_go_on_over_the_edges_of_stages() -> None:
    parts = segments((Stage(1.5, 2.0), Stage(1.5, 4.0)), OnOff(1.0, 1.0, 0.5), stream(1, "x"))
    assert [(part.start, part.duration, part.rate, part.stage) for part in parts] == [
        (0.0, 1.0, 2.0, 0),
        (1.0, 0.5, 1.0, 0),
        (1.5, 0.5, 2.0, 1),
        (2.0, 1.0, 4.0, 1),
    ]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_shares_of_clients(name: str) -> None:
    preset = PRESETS[name]
    shares = client_shares(preset)
    assert len(shares) == preset.clients
    assert shares.sum() == pytest.approx(1.0, rel=1e-12)
    assert shares[0] / shares[1] == pytest.approx(2**preset.client_zipf, rel=1e-12)
    assert (np.diff(shares) < 0).all()


def test_clients_keep_an_asked_number_and_belong_to_their_offsets() -> None:
    arrival = Arrival("clients", (Stage(math.inf, 20.0),), requests=500)
    result = schedule(arrival, stream(3, "x"), PRESETS["chat"])
    assert len(result.offsets) == len(result.clients) == 500
    assert set(result.clients.tolist()) <= set(range(PRESETS["chat"].clients))
    assert result.offsets[-1] == pytest.approx(25.0, rel=0.3)


def test_a_trace_is_cut_by_time_and_by_number() -> None:
    trace = np.array([0.0, 0.5, 0.5, 2.0, 3.0])
    for more, wanted in (
        ({}, [0.0, 0.5, 0.5, 2.0, 3.0]),
        ({"requests": 2}, [0.0, 0.5]),
        ({"duration": 2.0}, [0.0, 0.5, 0.5]),
        ({"time_scale": 2.0, "duration": 4.0}, [0.0, 1.0, 1.0]),
        ({"offset": 1.0, "requests": 3}, [1.0, 1.5, 1.5]),
    ):
        arrival = Arrival("trace", **more)  # type: ignore[arg-type]
        assert schedule(arrival, stream(1, "x"), None, trace).offsets.tolist() == wanted


@given(seed=st.integers(0, 2**63), names=st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_a_stream_is_a_matter_of_seed_and_names(seed: int, names: list[str]) -> None:
    first = stream(seed, *names).random(4).tolist()
    assert first == stream(seed, *names).random(4).tolist()
    assert first != stream(seed + 1, *names).random(4).tolist()
    assert first != stream(seed, *names, "more").random(4).tolist()
