"""The records of a run as columns, and the latency figures of each request.

Meanings (inference-perf's and GKE's). The plain name counts from the intended start, `_sent` from the
moment the request was handed to the socket layer; what the client itself delayed is the difference.

ttft   first token - start                         only streamed answers
ttfc   first content - start                       where any of the run's is behind its first token
tpot   (last token - first token) / (tokens - 1)   answers of two tokens and more, in two events and more
ntpot  (end - start) / tokens
itl    gaps between tokens, pooled; one event's tokens share the time since the event before it evenly
e2e    end - start
Only requests with outcome `ok` have latencies: an error that is quick must not flatter a percentile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from loadgen.numbers import stats
from loadgen.numbers.outcomes import NOT_SENT, SHEDS
from loadgen.numbers.stats import Floats, Ints
from loadgen.records.records import Record

Labels = NDArray[np.object_]
Mask = NDArray[np.bool_]

LATENCIES = ("ttft", "ttfc", "tpot", "ntpot", "itl", "e2e", "ttft_sent", "ntpot_sent", "e2e_sent")
_NUMBERS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Frame:
    """Records in order of intended start, one array entry each; NaN and "" where a thing never was."""

    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)

    def _floats(self, read: Callable[[Record], float | None]) -> Floats:
        values = (read(record) for record in self.records)
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def _labels(self, read: Callable[[Record], object]) -> Labels:
        out: Labels = np.empty(len(self.records), dtype=object)
        for index, record in enumerate(self.records):
            value = read(record)
            out[index] = "" if value is None else str(value)
        return out

    @cached_property
    def intended(self) -> Floats:
        return self._floats(lambda record: record.intended)

    @cached_property
    def start(self) -> Floats:
        return self._floats(lambda record: record.start)

    @cached_property
    def end(self) -> Floats:
        return self._floats(lambda record: record.end)

    @cached_property
    def first_token(self) -> Floats:
        return self._floats(lambda record: record.first_token)

    @cached_property
    def first_content(self) -> Floats:
        """All NaN where no answer thought or called a tool before it began: first_token says the same."""
        content = self._floats(lambda record: record.first_content)
        later = content > self.first_token
        return content if later.any() else np.full(len(self), np.nan)

    @cached_property
    def pace_start(self) -> Floats:
        """Where tpot begins: the first token, seen or told by a chat stream's opening."""
        return np.fmin(self.first_token, self._floats(lambda record: record.opening))

    @cached_property
    def last_token(self) -> Floats:
        return self._floats(lambda record: record.last_token)

    @cached_property
    def prompt_tokens(self) -> Floats:
        return self._floats(lambda record: record.prompt_tokens)

    @cached_property
    def cached_tokens(self) -> Floats:
        return self._floats(lambda record: record.cached_tokens)

    @cached_property
    def output_tokens(self) -> Floats:
        return self._floats(lambda record: record.output_tokens)

    @cached_property
    def outcome(self) -> Labels:
        return self._labels(lambda record: record.outcome)

    @cached_property
    def pod(self) -> Labels:
        return self._labels(lambda record: record.pod)

    @cached_property
    def cls(self) -> Labels:
        return self._labels(lambda record: record.cls)

    @cached_property
    def adapter(self) -> Labels:
        return self._labels(lambda record: record.adapter)

    @cached_property
    def stage(self) -> Labels:
        return self._labels(lambda record: record.stage)

    @cached_property
    def group(self) -> Labels:
        return self._labels(lambda record: record.group)

    @cached_property
    def session(self) -> Labels:
        return self._labels(lambda record: record.session)

    @cached_property
    def ok(self) -> Mask:
        return np.asarray(self.outcome == "ok", dtype=np.bool_)

    @cached_property
    def sent(self) -> Mask:
        return ~np.isin(self.outcome.astype(str), sorted(NOT_SENT))

    @cached_property
    def shed(self) -> Mask:
        return np.isin(self.outcome.astype(str), sorted(SHEDS))

    @cached_property
    def lateness(self) -> Floats:
        """Actual minus intended start, seconds; NaN for what was not sent."""
        return np.asarray(self.start - self.intended)

    @cached_property
    def blocks(self) -> Ints:
        """Time blocks for the bootstrap, by intended start."""
        return stats.time_blocks(self.intended)

    def latency(self, name: str) -> tuple[Floats, Ints]:
        """The finite values of one of LATENCIES and the row each belongs to (itl: several per row)."""
        if name == "itl":
            return self._gaps
        values = np.where(self.ok, self._per_request(name), np.nan)
        rows = np.flatnonzero(np.isfinite(values))
        return values[rows], rows

    def _per_request(self, name: str) -> Floats:
        since = self.start if name.endswith("_sent") else self.intended
        tokens = self.output_tokens
        match name.removesuffix("_sent"):
            case "ttft":
                return np.asarray(self.first_token - since)
            case "ttfc":
                return np.asarray(self.first_content - since)
            case "e2e":
                return np.asarray(self.end - since)
            case "ntpot":
                return np.asarray((self.end - since) / np.where(tokens > 0, tokens, np.nan))
            case "tpot":
                after = np.where(tokens > 1, tokens - 1, np.nan)
                span = self.last_token - self.pace_start
                return np.asarray(np.where(self._in_one_event, np.nan, span) / after)
        raise KeyError(name)

    @cached_property
    def _in_one_event(self) -> Mask:
        """Answers all of whose tokens came in a single event: nothing tells how far they were apart."""

        def alone(record: Record) -> bool:
            if record.opening is not None:
                return False
            times = record.chunk_times
            return len(times) == 1 if times else record.last_token == record.first_token

        return np.fromiter(map(alone, self.records), dtype=np.bool_, count=len(self.records))

    @cached_property
    def _gaps(self) -> tuple[Floats, Ints]:
        gaps: list[Floats] = []
        rows: list[Ints] = []
        for row in np.flatnonzero(self.ok).tolist():
            record = self.records[row]
            times = record.chunk_times
            if not times:
                continue
            if record.opening is not None:
                times = [record.opening, *times]
            gaps.append(gaps_of_tokens(np.diff(np.asarray(times)), (record.output_tokens or 0) - 1))
            rows.append(np.full(gaps[-1].size, row, dtype=np.int64))
        if not gaps:
            return np.empty(0), np.empty(0, dtype=np.int64)
        return np.concatenate(gaps), np.concatenate(rows)

    def where(self, mask: Mask) -> Frame:
        """The rows under `mask`, as a Frame of their own."""
        return Frame([self.records[row] for row in np.flatnonzero(mask).tolist()])

    def summaries(
        self, names: Iterable[str] = LATENCIES, *, intervals: bool = True
    ) -> dict[str, stats.Summary]:
        """Summaries of the latencies that have any value."""
        out = {}
        for name in names:
            values, rows = self.latency(name)
            summary = stats.summarize(values, self.blocks[rows], intervals=intervals)
            if summary is not None:
                out[name] = summary
        return out


def gaps_of_tokens(gaps: Floats, tokens: int) -> Floats:
    """The gaps between events as `tokens` gaps between tokens, of the same sum.

    How many tokens an event carried is not known where there are more of them than events. Each then takes
    the time since the one before in even parts, longer gaps in more of them, so that all parts are as alike
    as they can be. Where no gap has a length, or tokens are no more than gaps, they stay as they are.
    """
    if tokens <= gaps.size or not (gaps > 0).any():
        return gaps
    counts = np.ones(gaps.size, dtype=np.int64)
    open_ = np.ones(gaps.size, dtype=np.bool_)
    while True:  # a gap shorter than the pace of the others is one token's
        left = tokens - int((~open_).sum())
        pace = float(gaps[open_].sum()) / left
        short = open_ & (gaps < pace * (1 - 1e-9))
        if not short.any():
            break
        open_ &= ~short
    wanted = gaps[open_] / pace
    whole = np.maximum(1, np.floor(wanted + 1e-9)).astype(np.int64)
    whole[np.argsort(whole - wanted, kind="stable")[: left - int(whole.sum())]] += 1
    counts[open_] = whole
    return np.asarray(np.repeat(gaps / counts, counts))


def by(labels: Labels) -> dict[str, Mask]:
    """The mask of each distinct non-empty label, in natural order (pod-2 before pod-10)."""
    return {label: np.asarray(labels == label) for label in natural_order({str(x) for x in labels} - {""})}


def natural_order(names: Iterable[str]) -> list[str]:
    """Sorted with the numbers inside the names read as numbers."""
    return sorted(names, key=_natural)


def _natural(name: str) -> list[str | int]:
    """Texts and numbers by turns, so that names compare; only ASCII digits count as a number."""
    return [int(part) if index % 2 else part for index, part in enumerate(_NUMBERS.split(name))]
