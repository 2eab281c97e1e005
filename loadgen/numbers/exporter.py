"""`loadgen run --metrics-port`: the totals so far as Prometheus reads them, while the load runs.

A thread of the parent process answers, which sends no load itself. Times are seconds; every series carries
the scenario's name.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from loadgen.errors import RunError
from loadgen.numbers.progress import Histogram, Progress, bucket_value

_LATENCY = (
    0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5,
    10, 20, 30, 60, 120,
)  # fmt: skip
_SHORT = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_HISTOGRAMS = (
    ("time_to_first_token", "ttft", "Sending to first token.", _LATENCY),
    ("time_per_output_token", "tpot", "Mean time between tokens of an answer.", _SHORT),
    ("request_duration", "latency", "Intended start to end of the answer.", _LATENCY),
    ("start_lateness", "late", "How much later than planned requests were sent.", _SHORT),
)


class Snapshot(Protocol):
    """What a running load tells of itself."""

    name: str
    total: Progress
    in_flight: int
    planned: int | None
    asked: float | None


class Totals(Collector):
    """Families of a run's totals, made from its latest snapshot at each scrape."""

    def __init__(self, latest: Callable[[], Snapshot | None]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        if (snapshot := self._latest()) is None:
            return
        name, total = [snapshot.name], snapshot.total
        counters = (
            ("requests_sent", "Requests sent, tries after a failure included.", total.attempts),
            ("requests_missed", "Requests never sent: too many were in flight.", total.missed),
            ("output_tokens", "Tokens of the answers.", total.output_tokens),
            ("connections_opened", "Connections opened.", total.opened),
            ("client_cpu_seconds", "CPU of the workers.", total.cpu),
        )
        for what, words, value in counters:
            yield _counter(what, words, {(): value}, name)
        ended: dict[tuple[str, ...], float] = {
            (outcome,): count for outcome, count in dict(total.outcomes).items()
        }
        yield _counter("requests_ended", "Requests that ended, by outcome.", ended, name, "outcome")
        served: dict[tuple[str, ...], float] = {(pod,): count for pod, count in dict(total.pods).items()}
        yield _counter("requests_served", "Answers, by the pod that gave them.", served, name, "pod")
        gauges = (
            ("requests_in_flight", "Requests under way.", snapshot.in_flight),
            ("requests_planned", "Requests of the plan; none where it wraps.", snapshot.planned),
            ("asked_rate", "Requests a second asked for; none for a closed loop.", snapshot.asked),
        )  # fmt: skip
        for what, words, level in gauges:
            if level is not None:
                gauge = GaugeMetricFamily(f"loadgen_{what}", words, labels=["scenario"])
                gauge.add_metric(name, level)
                yield gauge
        for what, field, words, bounds in _HISTOGRAMS:
            family = HistogramMetricFamily(f"loadgen_{what}_seconds", words, labels=["scenario"])
            held: Histogram = getattr(total, field)
            family.add_metric(name, _buckets(held, bounds), held.total)
            yield family


def _counter(
    what: str, words: str, values: dict[tuple[str, ...], float], name: list[str], *labels: str
) -> Metric:
    family = CounterMetricFamily(f"loadgen_{what}", words, labels=["scenario", *labels])
    for of, value in values.items():
        family.add_metric([*name, *of], value)
    return family


def _buckets(held: Histogram, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Counts up to each bound, to half of the 1 % by which the held values are rounded."""
    counts = [0] * (len(bounds) + 1)
    for index, count in dict(held.counts).items():
        counts[bisect_left(bounds, bucket_value(index))] += count
    return list(zip((*map(str, bounds), "+Inf"), map(float, accumulate(counts)), strict=True))


@contextlib.contextmanager
def serving(port: int, latest: Callable[[], Snapshot | None]) -> Iterator[str]:
    """The URL at which the totals of the `latest` snapshot are served; RunError for a port that is taken."""
    registry = CollectorRegistry()
    registry.register(Totals(latest))
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry)
    except OSError as error:
        raise RunError(f"--metrics-port {port}: {error.strerror or error}") from error
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
