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
from collections.abc import Iterable
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from loadgen.numbers import stats
from loadgen.numbers.outcomes import NOT_SENT, SHEDS
from loadgen.numbers.stats import Floats, Ints
from loadgen.records.records import Record
from loadgen.records.table import Labels, Mask, Records

LATENCIES = ("ttft", "ttfc", "tpot", "ntpot", "itl", "e2e", "ttft_sent", "ntpot_sent", "e2e_sent")
Rows = NDArray[np.integer[Any]]
ROWS_AT_ONCE = 16384  # answers whose gaps are made in one go: the arrays between stay small
_NUMBERS = re.compile(r"([0-9]+)")


class Frame:
    """Records in order of intended start, one array entry each; NaN and "" where a thing never was."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = Records.of(records)

    def __len__(self) -> int:
        return len(self.records)

    def _labels(self, name: str) -> Labels:
        codes, names = self.records.codes(name)
        return cast(Labels, np.array([name or "" for name in names], dtype=object)[codes])

    @cached_property
    def intended(self) -> Floats:
        return cast(Floats, self.records.numbers("intended"))

    @cached_property
    def start(self) -> Floats:
        return self.records.numbers("start")

    @cached_property
    def end(self) -> Floats:
        return self.records.numbers("end")

    @cached_property
    def first_token(self) -> Floats:
        return self.records.numbers("first_token")

    @cached_property
    def first_content(self) -> Floats:
        """All NaN where no answer thought or called a tool before it began: first_token says the same."""
        content = self.records.numbers("first_content")
        later = content > self.first_token
        return content if later.any() else np.full(len(self), np.nan)

    @cached_property
    def pace_start(self) -> Floats:
        """Where tpot begins: the first token, seen or told by a chat stream's opening."""
        return np.asarray(np.fmin(self.first_token, self.records.numbers("opening")))

    @cached_property
    def last_token(self) -> Floats:
        return self.records.numbers("last_token")

    @cached_property
    def prompt_tokens(self) -> Floats:
        return self.records.numbers("prompt_tokens")

    @cached_property
    def cached_tokens(self) -> Floats:
        return self.records.numbers("cached_tokens")

    @cached_property
    def output_tokens(self) -> Floats:
        return self.records.numbers("output_tokens")

    @cached_property
    def outcome(self) -> Labels:
        return self._labels("outcome")

    @cached_property
    def pod(self) -> Labels:
        return self._labels("pod")

    @cached_property
    def cls(self) -> Labels:
        return self._labels("cls")

    @cached_property
    def adapter(self) -> Labels:
        return self._labels("adapter")

    @cached_property
    def stage(self) -> Labels:
        numbers, places = np.unique(self.records.numbers("stage"), return_inverse=True)
        return cast(Labels, np.array([str(number) for number in numbers], dtype=object)[places])

    @cached_property
    def group(self) -> Labels:
        return self._labels("group")

    @cached_property
    def session(self) -> Labels:
        return self._labels("session")

    @cached_property
    def ok(self) -> Mask:
        return self.records.among("outcome", ("ok",))

    @cached_property
    def sent(self) -> Mask:
        return ~self.records.among("outcome", NOT_SENT)

    @cached_property
    def shed(self) -> Mask:
        return self.records.among("outcome", SHEDS)

    @cached_property
    def lateness(self) -> Floats:
        """Actual minus intended start, seconds; NaN for what was not sent."""
        return np.asarray(self.start - self.intended)

    def latency(self, name: str) -> tuple[Floats, Rows]:
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

        _, _, counts = self.records.chunks
        seen_once = np.where(counts > 0, counts == 1, self.last_token == self.first_token)
        return np.asarray(np.isnan(self.records.numbers("opening")) & seen_once)

    @cached_property
    def _gaps(self) -> tuple[Floats, Rows]:
        times, starts, counts = self.records.chunks
        openings, tokens = self.records.numbers("opening"), np.nan_to_num(self.output_tokens).astype(np.int64)
        known = np.flatnonzero(self.ok & (counts > 0))
        most = int(np.maximum(tokens[known], counts[known]).sum())
        gaps, sizes, at = np.empty(most), np.empty(len(known), dtype=np.int64), 0
        for low in range(0, len(known), ROWS_AT_ONCE):
            rows = known[low : low + ROWS_AT_ONCE]
            found, sizes[low : low + len(rows)] = _gaps_of_rows(
                times, starts[rows], counts[rows], openings[rows], tokens[rows] - 1
            )
            gaps[at : at + found.size] = found
            at += found.size
        return gaps[:at], np.repeat(known.astype(np.int32), sizes)  # rows in half the room

    def where(self, mask: Mask) -> Frame:
        """The rows under `mask`, as a Frame of their own."""
        return self if mask.all() else Frame(self.records.take(mask))

    def summaries(
        self, names: Iterable[str] = LATENCIES, *, intervals: bool = True
    ) -> dict[str, stats.Summary]:
        """Summaries of the latencies that have any value."""
        out = {}
        for name in names:
            summary = stats.summarize(self.latency(name)[0], intervals=intervals)
            if summary is not None:
                out[name] = summary
        return out


def _gaps_of_rows(
    times: Floats, starts: Ints, counts: Ints, openings: Floats, tokens: Ints
) -> tuple[Floats, Ints]:
    """`gaps_of_tokens` of many answers one behind the other, and how many each has.

    `times` from `starts` on, `counts` of them, are an answer's events; its opening (NaN: none) stands before.
    """
    ends = np.cumsum(counts)
    firsts = ends - counts
    mine = times[np.repeat(starts - firsts, counts) + np.arange(ends[-1])]
    gaps = np.diff(mine, prepend=0.0)
    gaps[firsts] = mine[firsts] - openings
    sizes = counts - np.isnan(openings)
    gaps = gaps[~np.isnan(gaps)]
    positive = np.concatenate(([0], np.cumsum(gaps > 0)))
    ends = np.cumsum(sizes)
    crowded = np.flatnonzero((tokens > sizes) & (positive[ends] > positive[ends - sizes]))
    pieces, at = [], 0
    for row, size, end in zip(crowded.tolist(), sizes[crowded].tolist(), ends[crowded].tolist(), strict=True):
        pieces += [gaps[at : end - size], gaps_of_tokens(gaps[end - size : end], int(tokens[row]))]
        sizes[row], at = pieces[-1].size, end
    return np.concatenate([*pieces, gaps[at:]]), sizes


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
