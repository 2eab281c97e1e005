"""Latency, outcomes, throughput and goodput of a set of requests: the plain half of a report.

`figures(frame)` is one dictionary of the shape that report.json has, for the whole run and again for each
class, adapter, pod and stage. Formulas: docs/scorecard.md.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from loadgen.numbers import stats
from loadgen.records.frame import Frame, Labels, by
from loadgen.records.records import NOT_SENT, OUTCOMES, SHEDS

SLO_METRICS: Final = ("ttft", "tpot", "itl", "ntpot", "e2e")
HARMLESS: Final = frozenset({"ok", "client_cancel"}) | SHEDS | NOT_SENT
"""Everything else is an error."""
DROPPED: Final = ("x-llm-d-request-dropped-reason", "x-gateway-request-dropped-reason")
SPLITS: Final = ("class", "adapter", "pod", "stage")


def figures(
    frame: Frame, slo: Mapping[str, float], *, span: float | None = None, intervals: bool = True
) -> dict[str, Any]:
    """All plain figures of `frame`; `span` (seconds) is the length of the run that rates divide by."""
    length = duration(frame) if span is None else span
    return {
        "latency": {k: v.as_dict() for k, v in frame.summaries(intervals=intervals).items()},
        "outcomes": outcomes(frame),
        "throughput": throughput(frame, length),
        "goodput": goodput(frame, slo, length),
    }


def split_figures(frame: Frame, slo: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """`figures` for each class, adapter, pod and stage; a split with one value or none is left out.

    Classes keep their intervals; the rest does without, to keep a hundred pods cheap.
    """
    span = duration(frame)
    labels: dict[str, Labels] = {
        "class": frame.cls,
        "adapter": frame.adapter,
        "pod": frame.pod,
        "stage": frame.stage,
    }
    out: dict[str, dict[str, Any]] = {}
    for kind in SPLITS:
        masks = by(labels[kind])
        if len(masks) > 1 or kind in ("pod", "class"):
            out[kind] = {
                name: figures(frame.where(mask), slo, span=span, intervals=kind == "class")
                for name, mask in masks.items()
            }
    return out


def duration(frame: Frame) -> float:
    """Seconds from the first intended start to the last end (or last intended start)."""
    if not len(frame):
        return 0.0
    last = max(np.nanmax(np.append(frame.end, -np.inf)), float(frame.intended[-1]))
    return float(last - frame.intended[0])


def outcomes(frame: Frame) -> dict[str, Any]:
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
    return {
        "due": due,
        "counts": {name: counted[name] for name in order if counted[name]},
        "groups": groups,
        "shares": {name: count / due if due else 0.0 for name, count in groups.items()},
        "causes": causes(frame),
    }


def causes(frame: Frame) -> list[dict[str, Any]]:
    """What errors and sheds said of themselves, the most frequent first: outcome, status, text, count."""
    said: Counter[tuple[str, int | None, str]] = Counter()
    for record in frame.records:
        if record.outcome not in ("ok", "missed", "skipped", "client_cancel"):
            reason = next((record.headers[h] for h in DROPPED if h in record.headers), record.error or "")
            said[record.outcome, record.status, reason[:200]] += 1
    return [
        {"outcome": outcome, "status": status, "text": text, "count": count}
        for (outcome, status, text), count in said.most_common(20)
    ]


def throughput(frame: Frame, span: float) -> dict[str, float]:
    """Rates over the run, per second; requested and achieved over the time in which starts were due."""
    ok = frame.ok
    window = float(frame.intended[-1] - frame.intended[0]) if len(frame) > 1 else 0.0
    starts = frame.start[np.isfinite(frame.start)]
    started = float(starts.max() - starts.min()) if starts.size > 1 else 0.0
    prompt, output = (float(np.nansum(column[ok])) for column in (frame.prompt_tokens, frame.output_tokens))
    return {
        "duration": span,
        "requested_rate": (len(frame) - 1) / window if window else 0.0,
        "achieved_rate": (starts.size - 1) / started if started else 0.0,
        "ok_rate": int(ok.sum()) / span if span else 0.0,
        "prompt_tokens_rate": prompt / span if span else 0.0,
        "output_tokens_rate": output / span if span else 0.0,
        "total_tokens_rate": (prompt + output) / span if span else 0.0,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "bytes_out": float(sum(record.bytes_out for record in frame.records)),
        "bytes_in": float(sum(record.bytes_in for record in frame.records)),
    }


def goodput(frame: Frame, slo: Mapping[str, float], span: float) -> dict[str, Any] | None:
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
    return {
        "slo": dict(limits),
        "good": count,
        "share": count / due if due else 0.0,
        "share_ci": [ci.low, ci.high] if ci else None,
        "share_admitted": count / admitted if admitted else 0.0,
        "share_ok": count / int(ok.sum()) if ok.any() else 0.0,
        "rate": count / span if span else 0.0,
        "token_rate": float(np.nansum(frame.output_tokens[good])) / span if span else 0.0,
        "attained": attained,
    }


def _per_row(frame: Frame, name: str) -> stats.Floats:
    """One value per request, NaN where there is none."""
    values, rows = frame.latency(name)
    counts = np.bincount(rows, minlength=len(frame))
    sums = np.bincount(rows, weights=values, minlength=len(frame))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
