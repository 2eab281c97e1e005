"""The search by itself: what it tries, and that the answer's neighbour fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import UsageError
from gateway.simulate.summary import Slo
from gateway.size.autoscale import Hpa
from gateway.size.picture import page
from gateway.size.search import Found, bottleneck, search
from gateway.size.table import as_text, best, rows, values
from gateway.size.wanted import Kind, kinds_of, slo_of

H100, A = "llama-3.1-8b/h100", Slo("ttft", 95, 0.5)
SPREAD = {"mean": 0.1, "p50": 0.1, "p90": 0.2, "p95": 0.3, "p99": 0.4}


def figures(count: int, least: int) -> dict[str, Any]:
    """A fleet that holds from `least` replicas on."""
    value = 0.5 * least / count
    return {
        "slo": {"ttft.p95": {"limit": 0.5, "value": value, "ok": count >= least}},
        "goodput": min(1.0, count / least),
        "latency_s": {"ttft": SPREAD, "tpot": None, "e2e": SPREAD},
        "load": {"kv_mean": 0.1, "kv_max": 0.2, "waiting_mean": 0.0, "waiting_max": 1.0},
        "outcomes": {"ok": 10},
        "cached_share": 0.0,
        "virtual_s": 3600.0,
        "prompt_tokens": 900_000,
        "output_tokens": 100_000,
        "notes": [],
    }


@pytest.mark.parametrize("least", [1, 2, 3, 7, 8, 9, 31, 64])
@pytest.mark.parametrize("begin", [1, 3, 20, 100])
def test_the_least_number_is_found_and_its_neighbour_fails(least: int, begin: int) -> None:
    found = search(Kind(H100), lambda count: figures(count, least), 64, begin)
    assert found.answer == least
    assert least == 1 or not found.tried[least - 1]["slo"]["ttft.p95"]["ok"]
    assert len(found.tried) <= 13


def test_where_no_number_holds_there_is_no_answer() -> None:
    found = search(Kind(H100), lambda count: figures(count, 50), 40, 3)
    assert found.answer is None
    assert max(found.tried) == 40
    assert "not with 40 replicas" in as_text(found, [A], 40)
    assert best([found]) is None


def test_the_bottleneck_grows_with_the_work() -> None:
    small, large = (bottleneck(H100, tokens, tokens // 10, 60.0) for tokens in (1_000_000, 100_000_000))
    assert 1 <= small < large
    assert bottleneck(H100, 0, 0, 60.0) == 1


def test_costs_are_by_the_hour_and_by_a_million_tokens(tmp_path: Path) -> None:
    found = search(Kind(H100, price=3.5), lambda count: figures(count, 2), 8, 1)
    answer = next(row for row in rows(found) if row["replicas"] == 2)
    assert (answer["cost_per_hour"], answer["cost_per_million_tokens"]) == (7.0, 7.0)
    picker = tmp_path / "page.yaml"
    picker.write_text("kind: EndpointPickerConfig\nplugins: []\n")
    told = yaml.safe_load(values(Found(Kind(H100, picker), {}, 2), ["--max-model-len", "4096"]))
    assert told["simulator"] == {"replicaCount": 2, "profile": H100, "args": ["--max-model-len", "4096"]}
    assert told["gateway"]["epp"]["config"] == {"kind": "EndpointPickerConfig", "plugins": []}


def test_the_cheapest_kind_is_the_answer() -> None:
    dear = search(Kind(H100, price=9.0), lambda count: figures(count, 2), 8, 1)
    cheap = search(Kind("llama-3.1-8b/rtx-4090", price=1.0), lambda count: figures(count, 5), 8, 1)
    assert best([dear, cheap]) is cheap


def test_the_picture_shows_every_try() -> None:
    found = search(Kind(H100), lambda count: figures(count, 5), 16, 1)
    drawn = page([found], [A], "title <b>")
    assert drawn.count("<circle") == 2 * len(found.tried)
    assert "title &lt;b&gt;" in drawn
    assert "5 replicas hold" in drawn


def test_what_is_asked_is_read_strictly(tmp_path: Path) -> None:
    assert slo_of("tpot.p99=30ms") == Slo("tpot", 99, 0.03)
    for text in ("ttft=3s", "itl.p95=3ms", "ttft.p95=3", "ttft.p95"):
        with pytest.raises(UsageError, match="--slo"):
            slo_of(text)
    with pytest.raises(UsageError, match="nope unknown"):
        kinds_of("nope", None, [])
    with pytest.raises(UsageError, match="--price"):
        kinds_of(H100, None, ["other=3/h"])
    with pytest.raises(UsageError, match="no such file"):
        kinds_of(H100, str(tmp_path / "none.yaml"), [])


def test_the_autoscaler_decides_as_kubernetes_does() -> None:
    hpa = Hpa(1, 20, target=4.0)
    hpa._seen = 4.3  # within a tenth of the target
    assert hpa.decide(3, 3, 0.0) == 3
    hpa._seen = 40.0
    assert hpa.decide(3, 3, 15.0) == 7  # 30 wanted; doubled or 4 more at a time
    assert hpa.decide(7, 3, 30.0) == 14
    hpa._seen = 0.0
    assert hpa.decide(14, 14, 45.0) == 14  # the highest wanted of five minutes
    assert hpa.decide(14, 14, 45.0 + 301.0) == 1
