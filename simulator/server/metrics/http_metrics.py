"""The http_* families of one replica (prometheus_fastapi_instrumentator, as vLLM mounts it), as plain
numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kit.prometheus import Buckets, escape, head, python_number

# Handlers that vLLM does not count.
EXCLUDED = frozenset({"/metrics", "/health", "/load", "/ping", "/version", "/server_info"})

_HIGH_RESOLUTION = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0),
)
_LOW_RESOLUTION = (0.1, 0.5, 1.0)

_REQUESTS = ("http_requests", "Total number of requests by method, status and handler.")
_SIZES = "by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. "
_REQUEST_SIZE = ("http_request_size_bytes", "Content length of incoming requests " + _SIZES)
_RESPONSE_SIZE = ("http_response_size_bytes", "Content length of outgoing responses " + _SIZES)
_HIGH = (
    "http_request_duration_highr_seconds",
    "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
)
_LOW = (
    "http_request_duration_seconds",
    "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
)


class _Series(Buckets):
    """One labelled series, and when it began (unix time)."""

    __slots__ = ("created",)

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        super().__init__(bounds)
        self.created = time.time()


class HTTPMetrics:
    """Counts finished requests; renders its five families in the recorded order."""

    __slots__ = ("_high", "_low", "_request_sizes", "_requests", "_response_sizes", "_text")

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str], _Series] = {}
        self._request_sizes: dict[str, _Series] = {}
        self._response_sizes: dict[str, _Series] = {}
        self._high = _Series(_HIGH_RESOLUTION)
        self._low: dict[tuple[str, str], _Series] = {}
        self._text: str | None = None  # of the last rendering; None: something changed

    def record(  # noqa: PLR0917 - one call site, on the hot path
        self, handler: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """A finished request; sizes are what the content-length headers said, 0 without one."""
        if handler in EXCLUDED:
            return
        self._text = None
        _count(self._requests, (handler, method, f"{status // 100}xx"), 0.0)
        _count(self._request_sizes, handler, request_bytes)
        _count(self._response_sizes, handler, response_bytes)
        self._high.observe(seconds)
        low = self._low.get((handler, method))
        if low is None:
            low = self._low[handler, method] = _Series(_LOW_RESOLUTION)
        low.observe(seconds)

    def render(self, created: bool) -> str:
        """The families as text; `created` adds the `_created` ones."""
        if self._text is None:
            requests = {
                f'{{handler="{escape(h)}",method="{m}",status="{s}"}}': series
                for (h, m, s), series in self._requests.items()
            }
            low = {
                (f'handler="{escape(h)}",', f',method="{m}"'): series for (h, m), series in self._low.items()
            }
            self._text = "".join(
                (
                    _counter(_REQUESTS, requests, created),
                    _summary(_REQUEST_SIZE, self._request_sizes, created),
                    _summary(_RESPONSE_SIZE, self._response_sizes, created),
                    _histogram(_HIGH, {("", ""): self._high}, created),
                    _histogram(_LOW, low, created),
                )
            )
        return self._text


def _count(table: dict[Any, _Series], key: Any, amount: float) -> None:
    series = table.get(key)
    if series is None:
        series = table[key] = _Series()
    series.counts[0] += 1
    series.total += amount


def _created(family: tuple[str, str], series: dict[str, _Series], wanted: bool) -> str:
    if not wanted or not series:
        return ""
    name = family[0] + "_created"
    lines = [f"{name}{labels} {python_number(one.created)}\n" for labels, one in series.items()]
    return head(name, family[1], "gauge") + "".join(lines)


def _counter(family: tuple[str, str], series: dict[str, _Series], created: bool) -> str:
    name = family[0] + "_total"
    lines = [f"{name}{labels} {python_number(one.counts[0])}\n" for labels, one in series.items()]
    return head(name, family[1], "counter") + "".join(lines) + _created(family, series, created)


def _summary(family: tuple[str, str], by_handler: dict[str, _Series], created: bool) -> str:
    name = family[0]
    series = {f'{{handler="{escape(handler)}"}}': one for handler, one in by_handler.items()}
    lines = [
        f"{name}_count{labels} {python_number(one.counts[0])}\n"
        f"{name}_sum{labels} {python_number(one.total)}\n"
        for labels, one in series.items()
    ]
    return head(name, family[1], "summary") + "".join(lines) + _created(family, series, created)


def _histogram(family: tuple[str, str], by_labels: dict[tuple[str, str], _Series], created: bool) -> str:
    """`by_labels` has what stands before `le` in the labels, and what stands after it."""
    name = family[0]
    lines: list[str] = []
    plain: dict[str, _Series] = {}
    for (before, after), one in by_labels.items():
        seen = 0
        for bound, seen in one.series():
            lines.append(
                f'{name}_bucket{{{before}le="{python_number(bound)}"{after}}} {python_number(seen)}\n'
            )
        inner = (before + after.removeprefix(",")).rstrip(",")
        labels = f"{{{inner}}}" if inner else ""
        plain[labels] = one
        lines.append(f"{name}_count{labels} {python_number(seen)}\n")
        lines.append(f"{name}_sum{labels} {python_number(one.total)}\n")
    return head(name, family[1], "histogram") + "".join(lines) + _created(family, plain, created)
