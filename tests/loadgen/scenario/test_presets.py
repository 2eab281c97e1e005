"""Presets by their own mathematics: figures of the traces in closed form, and draws against the law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from statistics import NormalDist

import numpy as np
import pytest

from loadgen.plan.arrivals import client_shares, stream
from loadgen.plan.production import draw, zipf_edges
from loadgen.scenario.presets import PRESETS, LogNormal, Preset

NORMAL = NormalDist()
EVERY = pytest.mark.parametrize("name", sorted(PRESETS))


def below(parts: Sequence[LogNormal], value: float) -> float:
    """P(length <= value) of a mixture of clipped log-normals."""
    total = 0.0
    for part in parts:
        inside = NORMAL.cdf((math.log(value) - part.mu) / part.sigma)
        total += part.weight * (0.0 if value < part.low else 1.0 if value >= part.high else inside)
    return total / sum(part.weight for part in parts)


def quantile(parts: Sequence[LogNormal], share: float) -> float:
    low, high = 1.0, 100_000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if below(parts, middle) < share else (low, middle)
    return high


def mean(parts: Sequence[LogNormal]) -> float:
    """Of a log-normal between its ends, and its ends by what lies beyond them."""
    total = 0.0
    for part in parts:
        a, b = ((math.log(end) - part.mu) / part.sigma for end in (part.low, part.high))
        inside = NORMAL.cdf(b - part.sigma) - NORMAL.cdf(a - part.sigma)
        total += part.weight * (
            math.exp(part.mu + part.sigma**2 / 2) * inside
            + part.low * NORMAL.cdf(a)
            + part.high * (1 - NORMAL.cdf(b))
        )
    return total / sum(part.weight for part in parts)


def lengths(preset: Preset) -> dict[str, tuple[LogNormal, ...]]:
    return {"inputs": (preset.inputs,), "later": (preset.later,), "outputs": preset.outputs}


@pytest.mark.parametrize(
    ("name", "share", "tokens"), [("chat", 0.5, 129), ("chat", 0.9, 424), ("code", 0.5, math.exp(2.79))]
)
def test_quantiles_of_answers_are_those_of_the_traces(name: str, share: float, tokens: float) -> None:
    assert quantile(PRESETS[name].outputs, share) == pytest.approx(tokens, rel=0.12)


@pytest.mark.parametrize(("name", "tokens"), [("chat", 211), ("doc-qa", 149)])
def test_means_of_answers_are_those_of_the_traces(name: str, tokens: float) -> None:
    assert mean(PRESETS[name].outputs) == pytest.approx(tokens, rel=0.12)


@EVERY
@pytest.mark.parametrize("kind", ["inputs", "later", "outputs"])
def test_draws_keep_to_the_law(name: str, kind: str) -> None:
    parts = lengths(PRESETS[name])[kind]
    rng, count = stream(1, name, kind), 3000
    drawn = np.array([draw(parts, rng) for _ in range(count)])
    assert drawn.min() >= min(part.low for part in parts)
    assert drawn.max() <= max(part.high for part in parts)
    for share in (0.1, 0.5, 0.9):
        # A length is rounded: the law between two whole numbers is that of the half between them.
        value = math.floor(quantile(parts, share))
        wanted = below(parts, value + 0.5)
        slack = 4 * math.sqrt(wanted * (1 - wanted) / count)
        assert np.mean(drawn <= value) == pytest.approx(wanted, abs=slack)


def test_a_part_of_a_mixture_is_drawn_by_its_weight() -> None:
    parts = (LogNormal(2, 0, 1, 100, 3.0), LogNormal(4, 0, 1, 100, 1.0))  # e**2 = 7.4 and e**4 = 54.6
    rng = stream(1, "mixture")
    drawn = [draw(parts, rng) for _ in range(4000)]
    assert set(drawn) == {7, 55}
    assert drawn.count(7) / 4000 == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 4000))


@pytest.mark.parametrize(("low", "high", "length"), [(1, 5, 5), (9, 20, 9), (1, 100, 7)])
def test_a_length_is_clipped_to_its_ends(low: int, high: int, length: int) -> None:
    assert draw((LogNormal(2, 0, low, high),), stream(1, "clip")) == length


@pytest.mark.parametrize(
    ("count", "exponent", "edges"),
    [
        (1, 1.0, [1.0]),
        (4, 0.0, [0.25, 0.5, 0.75, 1.0]),
        (3, 1.0, [6 / 11, 9 / 11, 1.0]),
        (2, 2.0, [0.8, 1.0]),
    ],
)
def test_edges_of_zipf(count: int, exponent: float, edges: list[float]) -> None:
    assert zipf_edges(count, exponent).tolist() == pytest.approx(edges, rel=1e-12)


@EVERY
def test_every_preset_can_be_drawn(name: str) -> None:
    preset = PRESETS[name]
    for parts in lengths(preset).values():
        for part in parts:
            assert 1 <= part.low < part.high
            assert part.low < math.exp(part.mu) < part.high, "the median is inside"
            assert part.sigma > 0
            assert part.weight > 0
    assert client_shares(preset).sum() == pytest.approx(1.0)
    assert (np.diff(client_shares(preset)) <= 0).all()
    assert preset.turns >= 1
    assert preset.think >= 0
    assert 0 <= preset.hit < 1
    assert (preset.documents > 0) == (preset.document_tokens > 0)
    for count in (preset.clients, preset.tenants, preset.system_tokens, preset.tenant_tokens):
        assert count > 0


@EVERY
def test_the_part_that_all_share_bounds_what_is_hit(name: str) -> None:
    """One turn and no document: a cache can have no more of a prompt than system and tenant say."""
    preset = PRESETS[name]
    if preset.turns > 1 or preset.documents:
        return
    shared = preset.system_tokens + preset.tenant_tokens
    assert preset.hit <= shared / (shared + mean((preset.inputs,))) + 0.02


def test_presets_are_told_apart_by_every_kind_of_setting() -> None:
    for each in fields(Preset):
        assert len({repr(getattr(preset, each.name)) for preset in PRESETS.values()}) > 1, each.name
