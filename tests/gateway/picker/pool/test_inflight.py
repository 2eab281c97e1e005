"""Loads in flight: GIE v1.5 counts them only where a producer is configured, llm-d what is not cached."""

from __future__ import annotations

import pytest

from gateway.picker.compat import GIE_V12, GIE_V15, LLMD_HEAD, LLMD_V010, LLMD_V09, Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import Filter, Producer, Scorer
from gateway.picker.pool.inflight import InflightLoad
from tests.gateway.picker.factories import candidate, config, load, request

PRODUCER = "{type: inflight-load-producer}"
LOADED = [candidate("a", inflight_tokens=2097152, inflight_requests=100), candidate("b", host=3)]


def token_scores(*plugins: str, compat: Compat, heard: list[str] | None = None) -> list[float]:
    api = "llm-d" if compat.strict_parameters else "gie"
    scorer = load(config("{type: token-load-scorer}", *plugins, api=api), compat, heard).plugins
    plugin = scorer["token-load-scorer"]
    assert isinstance(plugin, Scorer)
    return list(plugin.score(request(), LOADED))


def test_tokens_in_flight_count() -> None:
    assert token_scores(compat=GIE_V12) == [0.5, 1.0]


@pytest.mark.parametrize("compat", [LLMD_V09, LLMD_V010, LLMD_HEAD], ids=lambda c: c.name)
def test_llm_d_refuses_the_scorer_without_a_producer(compat: Compat) -> None:
    with pytest.raises(PickerConfigError, match="no default producer found for missing data key Uncached"):
        token_scores(compat=compat)
    assert token_scores(PRODUCER, compat=compat) == [0.5, 1.0]


# 1 000 bytes are 250 tokens; blocks of 64 make 4 of them, the last one short.
@pytest.mark.parametrize(
    ("parameters", "cached", "cost"),
    [
        ("", 0, 250),
        ("", 1, 3 * 64),
        ("", 4, 0),
        ("{addEstimatedOutputTokens: true}", 0, 250 + 7),
        ("{addEstimatedOutputTokens: true, outputRatio: 0.01}", 0, 250 + 3),
        ("{addEstimatedOutputTokens: true, maxEstimatedOutputTokens: 5}", 4, 5),
    ],
)
def test_what_a_request_is_worth_to_llm_d(parameters: str, cached: int, cost: int) -> None:
    text = config(
        f"{{type: inflight-load-producer, parameters: {parameters or '{}'}}}",
        "{type: token-load-scorer}",
        api="llm-d",
    )
    producer = load(text, LLMD_V010).plugins["inflight-load-producer"]
    assert isinstance(producer, Producer)
    asked = request(prompt="x" * 1000, max_tokens=7)
    fresh = candidate("fresh")
    total = 0 if not cached else 4
    known = candidate("known", host=3, prefix_matched=cached, prefix_total=total, prefix_block_tokens=64)
    producer.prepare(asked, [fresh, known])
    assert known.own_tokens == cost
    assert fresh.own_tokens == (cost if not cached else max(cost, fresh.own_tokens))


def test_tokens_of_the_prompt_are_over_with_the_first_byte() -> None:
    load = InflightLoad()
    load.prompt_only = True
    load.cost = lambda request, candidate: 10
    here, there, asked = candidate("a"), candidate("b", host=3), request()
    load.begin(asked, here)
    load.begin(asked, there, is_prefill=True)
    assert (load.requests("ns/a"), load.tokens("ns/a"), load.requests("ns/b")) == (1, 10, 1)
    load.first_byte(asked)
    assert (load.requests("ns/a"), load.tokens("ns/a")) == (1, 0)
    assert (load.requests("ns/b"), load.tokens("ns/b")) == (0, 0)
    load.end(asked)
    load.end(asked)
    assert load.requests("ns/a") == 0


def test_a_load_ends_after_its_endpoint_has_gone() -> None:
    load, here, asked = InflightLoad(), candidate("a"), request()
    load.begin(asked, here)
    load.forget("ns/a")
    load.end(asked)
    assert load.requests("ns/a") == 0


def test_in_gie_v15_every_endpoint_is_idle_without_a_producer() -> None:
    heard: list[str] = []
    assert token_scores(compat=GIE_V15, heard=heard) == [1.0, 1.0]
    (warning,) = heard
    assert "'token-load-scorer'" in warning
    assert "without an inflight-load-producer gie-v1.5 takes every endpoint for idle" in warning


def test_gie_v15_refuses_scorer_and_producer_together() -> None:
    with pytest.raises(PickerConfigError, match="data type mismatch between produced and consumed data"):
        token_scores(PRODUCER, compat=GIE_V15)


@pytest.mark.parametrize(("producer", "saturation", "kept"), [((), 0.0, 2), ((PRODUCER,), 0.5, 1)])
def test_the_concurrency_detector_of_gie_v15(producer: tuple[str, ...], saturation: float, kept: int) -> None:
    rest = "saturationDetector: {pluginRef: concurrency-detector}\n"
    text = config("{type: queue-scorer}", "{type: concurrency-detector}", *producer, rest=rest)
    detector = load(text, GIE_V15).detector
    assert detector.saturation(LOADED, 0.0) == saturation
    assert detector.saturation([], 0.0) == 1.0
    assert isinstance(detector, Filter)
    assert len(detector.filter(request(), list(LOADED))) == kept
