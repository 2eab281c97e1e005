"""The totals of a running load as Prometheus reads them."""

from __future__ import annotations

import urllib.request
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadgen.errors import RunError
from loadgen.numbers.exporter import serving
from loadgen.numbers.progress import Progress
from tests.ports import free_port


def _page(url: str) -> dict[str, float]:
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    return {
        s.name + "".join(f",{k}={v}" for k, v in sorted(s.labels.items()) if k != "scenario"): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_counts_levels_and_times() -> None:
    total = Progress(attempts=4, missed=1, outcomes={"ok": 2, "timeout": 1}, pods={"a": 2})
    for seconds in (0.03, 0.3, 200.0):
        total.ttft.add(seconds)
    with serving(0) as (totals, url):
        assert _page(url) == {}  # nothing has begun
        totals.snapshot = SimpleNamespace(name="n", total=total, in_flight=1, planned=9, asked=None)  # type: ignore[assignment]
        page = _page(url)
    assert page["loadgen_requests_sent_total"] == 4
    assert page["loadgen_requests_missed_total"] == 1
    assert page["loadgen_requests_ended_total,outcome=timeout"] == 1
    assert page["loadgen_requests_served_total,pod=a"] == 2
    assert page["loadgen_requests_in_flight"] == 1
    assert page["loadgen_requests_planned"] == 9
    assert "loadgen_asked_rate" not in page
    assert page["loadgen_time_to_first_token_seconds_sum"] == pytest.approx(200.33)
    buckets = {
        le: page[f"loadgen_time_to_first_token_seconds_bucket,le={le}"]
        for le in ("0.02", "0.04", "120", "+Inf")
    }
    assert buckets == {"0.02": 0, "0.04": 1, "120": 2, "+Inf": 3}


def test_no_port_no_server() -> None:
    with serving(None) as (_, url):
        assert url == ""


def test_a_taken_port_is_told() -> None:
    port = free_port()
    with (
        serving(port),
        pytest.raises(RunError, match=f"--metrics-port {port}: Address already in use"),
        serving(port),
    ):
        pass
