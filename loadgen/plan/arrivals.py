"""When requests are intended to start: seeded offsets in seconds, and the stage of each.

Every renewal process is drawn at mean rate 1 in "operational time" and stretched by the inverse of the
cumulative rate of the stages (ramps and on-off included), so rate and shape are separate and exact:
a constant process has equal gaps, a Poisson process over a ramp is the true inhomogeneous one.
Nothing is rescaled to hit a count or a total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from loadgen.scenario.presets import Preset
from loadgen.scenario.scenario import Arrival, OnOff, Stage

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def stream(seed: int, *names: str) -> np.random.Generator:
    """An independent random stream for a purpose; adding a class leaves the others' streams alone."""
    key = tuple(crc32(name.encode()) for name in names)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Offsets in seconds in ascending order; `stages[i]` and `clients[i]` belong to `offsets[i]`."""

    offsets: Floats
    stages: Ints
    clients: Ints


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a stage: its rate goes from `rate` to `end_rate` over `duration`."""

    start: float
    duration: float
    rate: float
    end_rate: float
    exponential: bool
    stage: int

    @property
    def expected(self) -> float:
        """Expected requests: the integral of the rate."""
        if self.rate == self.end_rate:
            return self.rate * self.duration if self.rate else 0.0
        if self.exponential:
            return (self.end_rate - self.rate) * self.duration / float(np.log(self.end_rate / self.rate))
        return (self.rate + self.end_rate) / 2 * self.duration

    def rate_at(self, time: float) -> float:
        """Rate `time` seconds into the segment."""
        if self.rate == self.end_rate:
            return self.rate
        share = time / self.duration
        if self.exponential:
            return float(self.rate * (self.end_rate / self.rate) ** share)
        return self.rate + (self.end_rate - self.rate) * share

    def times(self, counts: Floats) -> Floats:
        """Seconds into the segment at which the integral of the rate reaches `counts`."""
        if self.rate == self.end_rate:
            return counts / self.rate
        if self.exponential:
            growth = np.log(self.end_rate / self.rate) / self.duration
            return np.asarray(np.log1p(growth * counts / self.rate) / growth)
        slope = (self.end_rate - self.rate) / self.duration
        root = np.sqrt(np.maximum(self.rate**2 + 2 * slope * counts, 0.0))
        reached = np.where(counts > 0, self.rate + root, 1.0)  # a ramp from 0 has its first request at once
        return np.asarray(2 * counts / reached)


def segments(stages: tuple[Stage, ...], on_off: OnOff | None, rng: np.random.Generator) -> list[Segment]:
    """The stages laid end to end, cut at the edges of on and off periods."""
    result: list[Segment] = []
    start = 0.0
    for index, stage in enumerate(stages):
        end_rate = stage.rate if stage.end_rate is None else stage.end_rate
        result.append(
            Segment(start, stage.duration, stage.rate, end_rate, stage.shape == "exponential", index)
        )
        start += stage.duration
    return result if on_off is None else _cut(result, on_off, rng)


def _cut(whole: list[Segment], on_off: OnOff, rng: np.random.Generator) -> list[Segment]:
    result: list[Segment] = []
    on, left = True, 0.0
    for segment in whole:
        at = 0.0
        while segment.duration - at > 1e-9:
            if left <= 1e-9:
                mean = on_off.on if on else on_off.off
                left = float(rng.exponential(mean)) if on_off.random else mean
            length = min(left, segment.duration - at)
            factor = 1.0 if on else on_off.off_rate
            result.append(
                Segment(
                    segment.start + at,
                    length,
                    segment.rate_at(at) * factor,
                    segment.rate_at(at + length) * factor,
                    segment.exponential and factor > 0,
                    segment.stage,
                )
            )
            at, left = at + length, left - length
            if left <= 1e-9:
                on = not on
    return result


def _stretch(points: Floats, parts: list[Segment]) -> tuple[Floats, Ints]:
    """Operational times to seconds; both ascending."""
    times: list[Floats] = [np.empty(0)]
    stages: list[Ints] = [np.empty(0, dtype=np.int64)]
    reached = 0.0
    for part in parts:
        expected = part.expected
        # A hair of slack keeps the last point of n whole gaps from falling off by rounding.
        first, last = np.searchsorted(points, [reached - 1e-9, reached + expected - 1e-9])
        if expected > 0 and last > first:
            counts = np.maximum(points[first:last] - reached, 0.0)
            times.append(part.start + part.times(counts))
            stages.append(np.full(last - first, part.stage, dtype=np.int64))
        reached += expected
    return np.concatenate(times), np.concatenate(stages)


def _renewal(gaps: Callable[[int], Floats], until: float, most: int | None) -> Floats:
    """Cumulated gaps up to `until`, or `most` of them."""
    if most is not None:
        points = np.cumsum(gaps(most))
        return points[points < until]
    size = int(until + 6 * np.sqrt(until) + 16)
    points = np.cumsum(gaps(size))
    while points[-1] < until:
        points = np.concatenate([points, points[-1] + np.cumsum(gaps(size))])
    return points[points < until]


def _points(arrival: Arrival, until: float, rng: np.random.Generator) -> Floats:
    most = arrival.requests
    if arrival.process == "constant":
        count = int(np.ceil(until - 1e-9)) if most is None else most
        return np.arange(count, dtype=np.float64)
    if arrival.process == "poisson":
        return _renewal(lambda size: rng.exponential(1.0, size), until, most)
    return _renewal(_gamma_gaps(rng, arrival.burstiness), until, most)


def _gamma_gaps(rng: np.random.Generator, shape: float) -> Callable[[int], Floats]:
    """Gaps of mean 1 and CV shape**-0.5."""
    return lambda size: rng.gamma(shape, 1.0 / shape, size)


def client_shares(preset: Preset) -> Floats:
    """Each client's share of the load, largest first."""
    weights = (np.arange(preset.clients) + 1.0) ** -preset.client_zipf
    return np.asarray(weights / weights.sum())


def _client_points(
    preset: Preset, arrival: Arrival, until: float, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """Sum of gamma renewal processes, one a client, each of its own rate and CV."""
    if arrival.requests is not None:
        until = min(until, arrival.requests * 1.5 + 50)
    times: list[Floats] = []
    owners: list[Ints] = []
    for client, share in enumerate(client_shares(preset)):
        cv = float(np.exp(rng.normal(np.log(preset.cv), preset.cv_sigma)))
        phase = rng.random()
        own = _renewal(_gamma_gaps(rng, 1.0 / cv**2), until * share + phase, None)
        own = (own[own >= phase] - phase) / share
        times.append(own)
        owners.append(np.full(len(own), client, dtype=np.int64))
    points, clients = np.concatenate(times), np.concatenate(owners)
    order = np.argsort(points, kind="stable")[: arrival.requests]
    return points[order], clients[order]


def _bursts(arrival: Arrival) -> Floats:
    most = arrival.requests
    duration = arrival.duration
    waves = -(-most // arrival.size) if most is not None else None
    if duration is not None:
        fitting = int(np.ceil(duration / arrival.every - 1e-9))
        waves = fitting if waves is None else min(waves, fitting)
    assert waves is not None
    return np.repeat(np.arange(waves) * arrival.every, arrival.size)[:most]


def schedule(
    arrival: Arrival, rng: np.random.Generator, preset: Preset | None = None, trace: Floats | None = None
) -> Schedule:
    """The intended starts of one open-loop class.

    `preset` is needed by the process `clients`, `trace` (seconds) by the process `trace`.
    """
    clients: Ints | None = None
    if arrival.process == "burst":
        offsets = _bursts(arrival)
        stages = np.zeros(len(offsets), dtype=np.int64)
    elif arrival.process == "trace":
        assert trace is not None
        offsets = trace * arrival.time_scale
        if arrival.duration is not None:
            offsets = offsets[offsets < arrival.duration]
        offsets = offsets[: arrival.requests]
        stages = np.zeros(len(offsets), dtype=np.int64)
    else:
        parts = segments(arrival.stages, arrival.on_off, rng)
        until = sum(part.expected for part in parts)
        if arrival.process == "clients":
            assert preset is not None
            points, clients = _client_points(preset, arrival, until, rng)
            clients = clients[points < until]
        else:
            points = _points(arrival, until, rng)
        offsets, stages = _stretch(points, parts)
    if clients is None:
        clients = np.zeros(len(offsets), dtype=np.int64)
    return Schedule(np.round(offsets + arrival.offset, 7), stages, clients[: len(offsets)])
