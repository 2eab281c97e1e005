"""Latency, outcomes, throughput and goodput of a set of requests: the plain half of a report.

`figures(frame)` is the same for the whole run and again for each class, adapter, pod and stage. Formulas:
docs/scorecard.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from loadgen.numbers import stats
from loadgen.numbers.figure import Card, Figure
from loadgen.numbers.outcomes import NOT_SENT, OUTCOMES, SHEDS
from loadgen.numbers.stats import Summary
from loadgen.records.frame import Frame, by
from loadgen.records.table import DROPPED_HEADERS, Labels

SLO_METRICS = ("ttft", "tpot", "itl", "ntpot", "e2e")
HARMLESS = frozenset({"ok", "client_cancel"}) | SHEDS | NOT_SENT  # everything else is an error


class Latencies(Card, omit_defaults=True):
    """The latencies that any ok answer has, in the order of tables; what none has is left out."""

    ttft: Annotated[
        Summary | None,
        Figure(
            "first event that carries anything - start; streamed answers", "time", "lower", "TTFT",
            {"p90": "judged", "mean": "judged", "p50": "shown", "p99": "shown"},
        ),
    ] = None  # fmt: skip
    ttfc: Annotated[
        Summary | None,
        Figure(
            "first event with some of the answer itself - start; runs where thoughts or tools came first",
            "time", "lower", "TTFC",
        ),
    ] = None  # fmt: skip
    tpot: Annotated[
        Summary | None,
        Figure(
            "(last token - first token) ÷ (output tokens - 1); answers of two tokens and more, in two events "
            "and more",
            "time", "lower", "TPOT", {"p90": "judged", "p50": "judged"},
        ),
    ] = None  # fmt: skip
    ntpot: Annotated[
        Summary | None,
        Figure("(end - start) ÷ output tokens; answers with usage", "time", "lower", "NTPOT"),
    ] = None
    itl: Annotated[
        Summary | None,
        Figure(
            "gaps between tokens, pooled over requests; runs that keep chunk times", "time", "lower", "ITL",
            {"p99": "shown"},
        ),
    ] = None  # fmt: skip
    e2e: Annotated[
        Summary | None,
        Figure(
            "end - start; all answers", "time", "lower", "E2E",
            {"p90": "judged", "p50": "shown", "p99": "shown"},
        ),
    ] = None  # fmt: skip
    ttft_sent: Annotated[
        Summary | None, Figure("`ttft` from the actual start", "time", "lower", "TTFT, sent")
    ] = None
    ntpot_sent: Annotated[
        Summary | None, Figure("`ntpot` from the actual start", "time", "lower", "NTPOT, sent")
    ] = None
    e2e_sent: Annotated[
        Summary | None, Figure("`e2e` from the actual start", "time", "lower", "E2E, sent")
    ] = None
    lateness: Annotated[
        Summary | None,
        Figure("actual - intended start; all that were sent, of the whole run", "time", "lower", "lateness"),
    ] = None

    def given(self) -> dict[str, Summary]:
        """Those that there are, by name."""
        found = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: summary for name, summary in found if summary is not None}


class Groups(Card):
    """Requests by what became of them, every outcome class in one of five."""

    ok: int
    shed: int
    error: int
    cancelled: int
    missed: int


class Shares(Card):
    """Groups ÷ requests that were due."""

    ok: Annotated[float, Figure("complete answers ÷ due", "share", "higher", "ok", "judged", matters=0.005)]
    shed: Annotated[
        float,
        Figure(
            "the gateway's decision (`shed_429`, `ttl_503`, `evicted`) ÷ due", "share", "lower", "shed",
            "shown",
        ),
    ]  # fmt: skip
    error: Annotated[float, Figure("all other failures ÷ due", "share", "lower")]
    cancelled: Annotated[float, Figure("cancelled by the plan ÷ due", "share")]
    missed: Annotated[float, Figure("not sent by this client ÷ due", "share", "lower")]


class Cause(Card):
    """What errors and sheds of one kind said of themselves."""

    outcome: str
    status: int | None
    text: str
    count: int


class Outcomes(Card):
    """What was planned and what became of it; turns after a session ended early were never due."""

    due: int
    counts: dict[str, int]
    """By outcome class, those that occurred."""
    groups: Groups
    shares: Annotated[Shares, Figure("shares of what was due", name="")]
    causes: list[Cause]
    """The most frequent first."""


class Throughput(Card):
    """Rates over the run, per second."""

    duration: Annotated[float, Figure("last end - first intended start", "time")]
    requested_rate: Annotated[float, Figure("(n - 1) ÷ time between first and last intended start", "rate")]
    achieved_rate: Annotated[float, Figure("(n - 1) ÷ time between first and last actual start", "rate")]
    ok_rate: Annotated[float, Figure("ok answers ÷ `duration`", "rate", "higher")]
    prompt_tokens_rate: Annotated[
        float, Figure("prompt tokens of ok answers ÷ `duration`", "tokens/s", "higher")
    ]
    output_tokens_rate: Annotated[
        float,
        Figure("output tokens of ok answers ÷ `duration`", "tokens/s", "higher", "output tokens/s", "shown"),
    ]
    total_tokens_rate: Annotated[float, Figure("both ÷ `duration`", "tokens/s", "higher")]
    prompt_tokens: Annotated[float, Figure("prompt tokens of ok answers")]
    output_tokens: Annotated[float, Figure("output tokens of ok answers")]
    bytes_out: Annotated[float, Figure("bytes of all requests")]
    bytes_in: Annotated[float, Figure("bytes of all answers")]


class Goodput(Card):
    """Requests that were ok and within every limit of `slo:`."""

    slo: dict[str, float]
    good: Annotated[int, Figure("requests that were ok and within every limit", better="higher")]
    share: Annotated[float, Figure("`good` ÷ due", "share", "higher", "goodput", "judged", matters=0.01)]
    share_ci: tuple[float, float] | None
    share_admitted: Annotated[float, Figure("`good` ÷ (due - shed)", "share", "higher")]
    share_ok: Annotated[float, Figure("`good` ÷ ok", "share", "higher")]
    rate: Annotated[float, Figure("`good` ÷ `throughput.duration`", "rate", "higher")]
    token_rate: Annotated[
        float, Figure("output tokens of the good ÷ `throughput.duration`", "tokens/s", "higher")
    ]
    attained: Annotated[
        dict[str, float], Figure("share of ok answers within the one limit of a metric", "share", "higher")
    ]


class Figures(Card):
    """What every set of requests has: the whole run, a class, an adapter, a pod, a stage."""

    latency: Annotated[Latencies, Figure("latency", name="")]
    outcomes: Annotated[Outcomes, Figure("what became of the requests")]
    throughput: Annotated[Throughput, Figure("rates")]
    goodput: Annotated[Goodput | None, Figure("answers within the limits of `slo:`")]


def figures(
    frame: Frame, slo: Mapping[str, float], *, span: float | None = None, intervals: bool = True
) -> Figures:
    """All plain figures of `frame`; `span` (seconds) is the length of the run that rates divide by."""
    length = duration(frame) if span is None else span
    return Figures(
        latency=Latencies(**frame.summaries(intervals=intervals)),
        outcomes=outcomes(frame),
        throughput=throughput(frame, length),
        goodput=goodput(frame, slo, length),
    )


def split_figures(
    frame: Frame,
    slo: Mapping[str, float],
    whole: Figures | None = None,
    pools: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Figures]]:
    """`figures` for each class, adapter, pod, pool and stage; a split with one value or none is left out.

    Classes keep their intervals; the rest does without, to keep a hundred pods cheap. `whole`: the figures of
    all of `frame`, which a class that has every request need not compute again. pools: the pool of each pod,
    as far as it is known.
    """
    span = duration(frame)
    labels: dict[str, Labels] = {
        "class": frame.cls,
        "adapter": frame.adapter,
        "pod": frame.pod,
        "pool": np.array([(pools or {}).get(str(pod), "") for pod in frame.pod], dtype=object),
        "stage": frame.stage,
    }
    out: dict[str, dict[str, Figures]] = {}
    for kind, column in labels.items():
        masks = by(column)
        if len(masks) > 1 or kind in ("pod", "class"):
            out[kind] = {
                name: whole
                if whole is not None and kind == "class" and mask.all()
                else figures(frame.where(mask), slo, span=span, intervals=kind == "class")
                for name, mask in masks.items()
            }
    return out


def duration(frame: Frame) -> float:
    """Seconds from the first intended start to the last end (or last intended start)."""
    if not len(frame):
        return 0.0
    last = max(np.nanmax(np.append(frame.end, -np.inf)), float(frame.intended[-1]))
    return float(last - frame.intended[0])


def outcomes(frame: Frame) -> Outcomes:
    """Counts and shares of what was planned; skipped turns (never due) stand in no denominator."""
    counted = Counter(str(outcome) for outcome in frame.outcome)
    due = len(frame) - counted["skipped"]
    groups = {
        "ok": counted["ok"],
        "shed": sum(counted[name] for name in SHEDS),
        "error": sum(n for name, n in counted.items() if name not in HARMLESS),
        "cancelled": counted["client_cancel"],
        "missed": counted["missed"],
    }
    order = [*OUTCOMES, *sorted(counted.keys() - set(OUTCOMES))]
    return Outcomes(
        due=due,
        counts={name: counted[name] for name in order if counted[name]},
        groups=Groups(**groups),
        shares=Shares(**{name: count / due if due else 0.0 for name, count in groups.items()}),
        causes=causes(frame),
    )


def causes(frame: Frame) -> list[Cause]:
    """What errors and sheds said of themselves, the most frequent first."""
    said: Counter[tuple[str, int | None, str]] = Counter()
    unwell = ~frame.records.among("outcome", ("ok", "missed", "skipped", "client_cancel"))
    for record in frame.records.take(unwell):
        reason = next((record.headers[h] for h in DROPPED_HEADERS if h in record.headers), record.error or "")
        said[record.outcome, record.status, reason[:200]] += 1
    return [
        Cause(outcome=outcome, status=status, text=text, count=count)
        for (outcome, status, text), count in said.most_common(20)
    ]


def throughput(frame: Frame, span: float) -> Throughput:
    """Rates over the run, per second; requested and achieved over the time in which starts were due."""
    ok = frame.ok
    window = float(frame.intended[-1] - frame.intended[0]) if len(frame) > 1 else 0.0
    starts = frame.start[np.isfinite(frame.start)]
    started = float(starts.max() - starts.min()) if starts.size > 1 else 0.0
    prompt, output = (float(np.nansum(column[ok])) for column in (frame.prompt_tokens, frame.output_tokens))
    return Throughput(
        duration=span,
        requested_rate=(len(frame) - 1) / window if window else 0.0,
        achieved_rate=(starts.size - 1) / started if started else 0.0,
        ok_rate=int(ok.sum()) / span if span else 0.0,
        prompt_tokens_rate=prompt / span if span else 0.0,
        output_tokens_rate=output / span if span else 0.0,
        total_tokens_rate=(prompt + output) / span if span else 0.0,
        prompt_tokens=prompt,
        output_tokens=output,
        bytes_out=float(frame.records.numbers("bytes_out").sum()),
        bytes_in=float(frame.records.numbers("bytes_in").sum()),
    )


def goodput(frame: Frame, slo: Mapping[str, float], span: float) -> Goodput | None:
    """Share and rate of requests that were ok and met every limit, latencies from the intended start.

    Three denominators: `share` of what was due, `share_admitted` of what was not shed, `share_ok` of the
    answered. A request of which a metric is not defined (one token has no TPOT) meets that limit. For itl
    the limit holds for the mean gap of the request, which is its TPOT where no chunk times were kept. None
    without limits.
    """
    limits = {name: limit for name, limit in slo.items() if name in SLO_METRICS}
    if not limits:
        return None
    ok = frame.ok
    good = ok.copy()
    attained = {}
    for name, limit in limits.items():
        values = _per_row(frame, name)
        if name == "itl":
            values = np.where(np.isnan(values), _per_row(frame, "tpot"), values)
        met = ~(values > limit)
        attained[name] = float((met & ok).sum() / ok.sum()) if ok.any() else 0.0
        good &= met
    count = int(good.sum())
    due = int((frame.outcome != "skipped").sum())
    admitted = due - int(frame.shed.sum())
    ci = stats.wilson(count, due)
    return Goodput(
        slo=dict(limits),
        good=count,
        share=count / due if due else 0.0,
        share_ci=(ci.low, ci.high) if ci else None,
        share_admitted=count / admitted if admitted else 0.0,
        share_ok=count / int(ok.sum()) if ok.any() else 0.0,
        rate=count / span if span else 0.0,
        token_rate=float(np.nansum(frame.output_tokens[good])) / span if span else 0.0,
        attained=attained,
    )


def _per_row(frame: Frame, name: str) -> stats.Floats:
    """One value per request, NaN where there is none."""
    values, rows = frame.latency(name)
    counts = np.bincount(rows, minlength=len(frame))
    sums = np.bincount(rows, weights=values, minlength=len(frame))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
