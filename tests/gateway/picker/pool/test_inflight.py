"""Loads in flight: GIE v1.5 counts them only where a producer is configured, and the others always."""

from __future__ import annotations

import pytest

from gateway.picker.compat import GIE_V12, GIE_V15, LLMD_V010, Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import Filter, Scorer
from tests.gateway.picker.factories import candidate, config, load, request

PRODUCER = "{type: inflight-load-producer}"
LOADED = [candidate("a", inflight_tokens=2097152, inflight_requests=100), candidate("b", host=3)]


def token_scores(*plugins: str, compat: Compat, heard: list[str] | None = None) -> list[float]:
    api = "llm-d" if compat is LLMD_V010 else "gie"
    scorer = load(config("{type: token-load-scorer}", *plugins, api=api), compat, heard).plugins
    plugin = scorer["token-load-scorer"]
    assert isinstance(plugin, Scorer)
    return list(plugin.score(request(), LOADED))


@pytest.mark.parametrize("compat", [GIE_V12, LLMD_V010])
def test_tokens_in_flight_count(compat: Compat) -> None:
    assert token_scores(compat=compat) == [0.5, 1.0]


def test_in_gie_v15_every_endpoint_is_idle_without_a_producer() -> None:
    heard: list[str] = []
    assert token_scores(compat=GIE_V15, heard=heard) == [1.0, 1.0]
    (warning,) = heard
    assert "'token-load-scorer'" in warning
    assert "without an inflight-load-producer gie-v1.5 takes every endpoint for idle" in warning


def test_gie_v15_refuses_scorer_and_producer_together() -> None:
    with pytest.raises(PickerConfigError, match="data type mismatch between produced and consumed data"):
        token_scores(PRODUCER, compat=GIE_V15)
    assert token_scores(PRODUCER, compat=LLMD_V010) == [0.5, 1.0]


@pytest.mark.parametrize(("producer", "saturation", "kept"), [((), 0.0, 2), ((PRODUCER,), 0.5, 1)])
def test_the_concurrency_detector_of_gie_v15(producer: tuple[str, ...], saturation: float, kept: int) -> None:
    rest = "saturationDetector: {pluginRef: concurrency-detector}\n"
    text = config("{type: queue-scorer}", "{type: concurrency-detector}", *producer, rest=rest)
    detector = load(text, GIE_V15).detector
    assert detector.saturation(LOADED, 0.0) == saturation
    assert detector.saturation([], 0.0) == 1.0
    assert isinstance(detector, Filter)
    assert len(detector.filter(request(), list(LOADED))) == kept
