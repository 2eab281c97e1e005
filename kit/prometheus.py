"""Counters, gauges and histograms as plain numbers, rendered in Prometheus' text format.

Belongs to one picker; there is no default registry. A series is made by its first use.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

Labels = tuple[str, ...]
# Series computed when the page is rendered: (label values, value).
Collect = Callable[[], Iterable[tuple[Labels, float]]]


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
            yield f"{name}{_label_set(self.labels, labels)} {_number(value)}"


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
        self.buckets = tuple(buckets)
        self._bounds = [_number(bound) for bound in buckets]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.buckets) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self.buckets, value)] += 1
        self._sums[labels] += value

    def count(self, *labels: str) -> int:
        return sum(self._counts.get(labels, ()))

    def lines(self, name: str) -> Iterable[str]:
        names = (*self.labels, "le")
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip([*self._bounds, "+Inf"], counts, strict=True):
                total += count
                yield f"{name}_bucket{_label_set(names, (*labels, bound))} {total}"
            yield f"{name}_sum{_label_set(self.labels, labels)} {_number(self._sums[labels])}"
            yield f"{name}_count{_label_set(self.labels, labels)} {total}"


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
                lines = list(family.lines(name))
                if lines:
                    out += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}", *lines]
        return "\n".join(out) + "\n"


def _label_set(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
