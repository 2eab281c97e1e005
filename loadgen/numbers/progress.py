"""Running totals of a worker that merge exactly: counts, and histograms with buckets 1 % wide."""

from __future__ import annotations

import math

import msgspec

STEP = math.log(1.01)
FLOOR = 1e-7


def bucket(seconds: float) -> int:
    """Index of the bucket that holds a duration; everything up to 0.1 us shares one."""
    return int(math.log(seconds / FLOOR) / STEP) if seconds > FLOOR else 0


def bucket_value(index: int) -> float:
    """A duration in the middle of a bucket."""
    return FLOOR * math.exp((index + 0.5) * STEP)


class Histogram(msgspec.Struct):
    """Counts by bucket, and the exact sum and maximum."""

    counts: dict[int, int] = {}
    total: float = 0.0
    most: float = 0.0

    def add(self, seconds: float) -> None:
        index = bucket(seconds)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.total += seconds
        self.most = max(self.most, seconds)

    def merge(self, other: Histogram) -> None:
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.total += other.total
        self.most = max(self.most, other.most)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def mean(self) -> float | None:
        return self.total / self.count if self.counts else None

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the durations lie, to half a bucket; None without any."""
        if not self.counts:
            return None
        wanted, seen = share * self.count, 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= wanted:
                return min(bucket_value(index), self.most)
        return self.most


class Progress(msgspec.Struct):
    """What a worker has done since its last report; merging reports gives the whole."""

    worker: int = 0
    time: float = 0.0
    sent: int = 0
    done: int = 0
    in_flight: int = 0
    waiting: int = 0
    attempts: int = 0
    missed: int = 0
    opened: int = 0
    reused: int = 0
    output_tokens: int = 0
    cpu: float = 0.0
    outcomes: dict[str, int] = {}
    pods: dict[str, int] = {}
    late: Histogram = msgspec.field(default_factory=Histogram)
    ttft: Histogram = msgspec.field(default_factory=Histogram)
    tpot: Histogram = msgspec.field(default_factory=Histogram)
    latency: Histogram = msgspec.field(default_factory=Histogram)

    def merge(self, other: Progress) -> None:
        """Add another report's counts; levels (in flight, waiting) are the caller's to sum over workers."""
        for name in ("sent", "done", "attempts", "missed", "opened", "reused", "output_tokens", "cpu"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.time = max(self.time, other.time)
        for mine, theirs in ((self.outcomes, other.outcomes), (self.pods, other.pods)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for name in ("late", "ttft", "tpot", "latency"):
            getattr(self, name).merge(getattr(other, name))


class Report(msgspec.Struct, tag_field="kind", tag="progress"):
    """A worker's line to its parent."""

    progress: Progress
    final: bool = False
    error: str | None = None
    first_errors: dict[str, str] = {}
    """One message for each outcome that is not ok."""
