"""Prometheus' text format: how numbers and labels are spelled, and families that render themselves.

Belongs to one object each; there is no default registry. A series is made by its first use. Two spellings are
in use in the field: Python's prometheus_client ("1.0") for model servers, client_golang ("1") for pickers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

Labels = tuple[str, ...]
# Series computed when the page is rendered: (label values, value).
Collect = Callable[[], Iterable[tuple[Labels, float]]]

_SMALL = tuple(f"{value}.0" for value in range(4096))


def python_number(value: float) -> str:
    """As prometheus_client: "0.0", "12.5", "1e+06", "1.7954e+09", "+Inf"."""
    if type(value) is int:
        if 0 <= value < 4096:
            return _SMALL[value]
        value = float(value)
    if value == 0:
        return "0.0"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def go_number(value: float) -> str:
    """As client_golang: "0", "0.125", "1.7954e+09", "-1e+06"."""
    if -math.inf < value < 0:
        return f"-{go_number(-value)}"
    return python_number(value).removesuffix(".0")


def escape(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def head(name: str, help_text: str, kind: str) -> str:
    """The two lines over the series of a family."""
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"


class Buckets:
    """One distribution: `counts[i]` belongs to `bounds[i]` and is not cumulative, the last is +Inf's."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0  # sum of the observed values

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def series(self) -> Iterable[tuple[float, int]]:
        """(bound, observations up to it), +Inf last."""
        return zip((*self.bounds, math.inf), accumulate(self.counts), strict=True)


class Counter:
    """A family of numbers that only grow."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = tuple(labels)
        self.values: dict[Labels, float] = {}

    def inc(self, *labels: str, by: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + by

    def lines(self, name: str) -> Iterable[str]:
        for labels, value in self.values.items():
            yield f"{name}{_label_set(self.labels, labels)} {go_number(value)}"


class Gauge(Counter):
    """A family of numbers that go up and down; with `collect`, computed when the page is rendered."""

    kind = "gauge"

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), collect: Collect | None = None
    ) -> None:
        super().__init__(name, help_text, labels)
        self._collect = collect

    def set(self, value: float, *labels: str) -> None:
        self.values[labels] = value

    def lines(self, name: str) -> Iterable[str]:
        if self._collect is not None:
            self.values = dict(self._collect())
        return super().lines(name)


class Histogram:
    """A family of distributions over fixed buckets."""

    kind = "histogram"

    def __init__(self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self.name = name
        self.help = help_text
        self.labels = tuple(labels)
        self.bounds = tuple(buckets)
        self._edges = [go_number(bound) for bound in (*self.bounds, math.inf)]
        self._series: dict[Labels, Buckets] = {}

    def observe(self, value: float, *labels: str) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Buckets(self.bounds)
        series.counts[bisect_left(series.bounds, value)] += 1
        series.total += value

    def labels_seen(self) -> Iterable[Labels]:
        """The labels of every series there is."""
        return self._series.keys()

    def count(self, *labels: str) -> int:
        series = self._series.get(labels)
        return 0 if series is None else series.count

    def lines(self, name: str) -> Iterable[str]:
        for labels, series in self._series.items():
            plain = _label_set(self.labels, labels)
            inner = f"{plain[1:-1]}," if plain else ""
            total = 0
            for edge, total in zip(self._edges, accumulate(series.counts), strict=True):
                yield f'{name}_bucket{{{inner}le="{edge}"}} {go_number(total)}'
            yield f"{name}_sum{plain} {go_number(series.total)}"
            yield f"{name}_count{plain} {go_number(total)}"


Family = Counter | Gauge | Histogram
F = TypeVar("F", Counter, Gauge, Histogram)


class Registry:
    """Families in the order in which they were made, some of them under a second name too."""

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._aliases = dict(aliases or {})
        self._families: list[Family] = []

    def add(self, family: F) -> F:
        self._families.append(family)
        return family

    def render(self) -> str:
        """The page; families without series are left out, as client_golang does."""
        out: list[str] = []
        for family in self._families:
            for name in filter(None, (family.name, self._aliases.get(family.name))):
                lines = "\n".join(family.lines(name))
                if lines:
                    out += [head(name, family.help, family.kind), lines, "\n"]
        return "".join(out) or "\n"


def _label_set(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{escape(v)}"' for n, v in zip(names, values, strict=True)) + "}"
