"""The totals of a running load as Prometheus reads them."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from types import SimpleNamespace
from typing import Any

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
    taken: list[Any] = [None]
    with serving(0, lambda: taken[-1]) as url:
        assert _page(url) == {}  # nothing has begun
        taken.append(SimpleNamespace(name="n", total=total, in_flight=1, planned=9, asked=None))
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


def test_a_run_without_a_port_loads_no_client_library() -> None:
    ask = "import sys, loadgen.run.runner; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"


def test_a_taken_port_is_told() -> None:
    port = free_port()
    with (
        serving(port, lambda: None),
        pytest.raises(RunError, match=f"--metrics-port {port}: Address already in use"),
        serving(port, lambda: None),
    ):
        pass
