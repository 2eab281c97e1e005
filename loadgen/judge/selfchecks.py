"""Is the run itself to be trusted? Questions the report asks of its own evidence before it judges anybody.

A check is `ok`, `warn` (read the figures with it in mind), `fail` (the run is not to be trusted: exit code
2) or `skip` (nothing to check with; says why). Limits: docs/scorecard.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np

from loadgen.numbers.quantity import show_time
from loadgen.numbers.stats import Floats
from loadgen.plan.plan import ClassPlan
from loadgen.records.frame import Frame
from loadgen.records.records import Odd
from loadgen.records.rundata import RunData
from loadgen.records.table import Records
from loadgen.scenario.scenario import Arrival

CEILING_WARN = 0.7
# Lateness p99 may be this many seconds, or this share of the median TTFT (E2E where nothing was streamed),
# whichever is more.
LATE_WARN = (0.001, 0.05)
LATE_FAIL = (0.010, 0.25)
MISSED_FAIL = 0.001
REUSE_WARN = 0.5
FEWEST = 100  # requests that a check of arrivals or of connections needs
SIGMAS = 4.0
KEPT_WARN = 0.15

Status = Literal["ok", "warn", "fail", "skip"]


class Check(msgspec.Struct, forbid_unknown_fields=True):
    """One answer of a self-check; `value` is the number behind the words, where there is one."""

    name: str
    status: Status
    words: str
    value: float | None = None


def selfchecks(run: RunData) -> list[Check]:
    """All checks, in the order in which they are printed."""
    frame = run.frame
    checks = [
        *simulated(run),
        finished(run),
        complete(run),
        ceiling(run),
        lateness(frame),
        missed(frame),
        unanswered(frame),
        *arrival_checks(run),
        reuse(frame),
        usage(frame),
        named_pods(frame),
        *meant_stack(run),
        pod_counters(run),
        hit_counters(run),
    ]
    checks += [Check("notes", "warn", note) for note in [*run.notes, *run.meta.warnings]]
    return checks


def trusted(checks: list[Check]) -> bool:
    return all(check.status != "fail" for check in checks)


def simulated(run: RunData) -> list[Check]:
    """Whether the run was one at all; no check for one against a real target."""
    how = run.meta.simulated
    if not how:
        return []
    words = ", ".join(f"{name} {value}" for name, value in how.items() if name != "clock")
    return [Check("simulated", "ok", f"made in virtual time by `simfleet simulate` ({words})")]


def finished(run: RunData) -> Check:
    """Did the run come to its own end?"""
    if run.meta.status == "finished":
        return Check("finished", "ok", "the run came to its own end")
    why = f": {run.meta.error}" if run.meta.error else ""
    words = {"running": "was broken off while running", "interrupted": "was interrupted"}
    word = words.get(run.meta.status, run.meta.status)
    return Check("finished", "fail", f"the run {word}{why}; figures cover what was recorded")


def complete(run: RunData) -> Check:
    """Exactly one record for each planned request."""
    ids = run.records.ids
    distinct = len(set(ids))
    double = 0 if distinct == len(ids) else sum(n > 1 for n in Counter(ids).values())
    planned = run.meta.planned
    missing = max(0, planned - distinct)
    if double:
        return Check("records", "fail", f"{double} request ids were recorded more than once", double)
    if not planned:
        return Check("records", "skip", "no plan to count the records against")
    if missing and not _endless(run):
        return Check("records", "fail", f"{missing} of {planned} planned requests have no record", missing)
    return Check("records", "ok", f"{distinct} records, each id once", 0)


def _endless(run: RunData) -> bool:
    """A closed loop by time uses as many of its planned requests as it gets through."""
    classes = run.plan_header.classes.values() if run.plan_header else ()
    return any(plan.users is not None and plan.duration is not None for plan in classes)


def ceiling(run: RunData) -> Check:
    """The load asked for against what this machine's client can do at all."""
    found = run.meta.ceiling
    if found is None or found.share is None:
        return Check("client ceiling", "skip", "not measured, or a closed loop that asks for no rate")
    words = f"asked for {100 * found.share:.1f} % of the {found.total:.0f} requests/s this client can send"
    status: Status = "ok" if found.share <= CEILING_WARN else "warn" if found.share <= 1 else "fail"
    return Check("client ceiling", status, words, found.share)


def lateness(frame: Frame) -> Check:
    """Actual minus intended start: the client's own delay, which the headline latency contains."""
    late = frame.lateness[np.isfinite(frame.lateness)]
    if not late.size:
        return Check("start lateness", "fail", "no request was started")
    p50, p99 = (float(x) for x in np.percentile(late, [50, 99]))
    latency = frame.latency("ttft_sent")[0]
    if not latency.size:  # nothing was streamed
        latency = frame.latency("e2e_sent")[0]
    typical = float(np.median(latency)) if latency.size else 0.0
    limits = [max(seconds, share * typical) for seconds, share in (LATE_WARN, LATE_FAIL)]
    status: Status = "ok" if p99 <= limits[0] else "warn" if p99 <= limits[1] else "fail"
    words = (
        f"p50 {show_time(p50)}, p99 {show_time(p99)}; limits {show_time(limits[0])}, {show_time(limits[1])}"
    )
    return Check("start lateness", status, words, p99)


def missed(frame: Frame) -> Check:
    """Requests that were due and that this client could not send."""
    count = int((frame.outcome == "missed").sum())
    share = count / len(frame) if len(frame) else 0.0
    status: Status = "ok" if not count else "warn" if share <= MISSED_FAIL else "fail"
    return Check("missed starts", status, f"{count} of {len(frame)} requests could not be sent", count)


def unanswered(frame: Frame) -> Check:
    """Latencies are those of ok answers; what failed or was never sent would stand at the slow end."""
    apart = frame.shed | frame.records.among("outcome", ("client_cancel", "skipped"))
    due = int((~apart).sum())
    without = due - int(frame.ok.sum())
    if not without:
        return Check("latency for all", "ok", f"{due} of {due} requests neither shed nor cancelled", 0)
    from_here = 100 * (1 - without / due)
    words = f"{without} of {due} have none; counted as endless, nothing from p{from_here:.4g} up has a value"
    return Check("latency for all", "warn", words, without)


def arrival_checks(run: RunData) -> list[Check]:
    """Did requests start as the arrival process they were planned by says they should?

    Two looks at each class: the intended starts against theory (is the plan what was asked for), and the
    actual starts against the intended ones (did the client keep to it). Only stretches of one constant rate
    have a theory: stages are looked at one by one, ramps, on-off and closed loops not at all. A check for
    each class with a theory, at least one in all.
    """
    header = run.plan_header
    out = []
    for name, plan in (header.classes if header else {}).items():
        arrival = (
            next((spec.arrival for spec in run.scenario.classes if spec.name == name), None)
            if run.scenario
            else None
        )
        for stage, times, starts in _stretches(run.frame, name, arrival):
            label = f"arrivals of {name}" + (f", stage {stage}" if stage else "")
            out.append(_arrival_check(label, plan, times, starts))
    why = f"no class with a constant rate and {FEWEST} requests"
    return out or [Check("arrivals", "skip", why)]


def _stretches(frame: Frame, name: str, arrival: Arrival | None) -> Iterator[tuple[str, Floats, Floats]]:
    """(stage, intended, actual) of first turns, for every stage of constant rate."""
    if (
        arrival is None
        or arrival.on_off is not None
        or arrival.process not in ("constant", "poisson", "gamma")
    ):
        return
    first = np.nan_to_num(frame.records.numbers("turn")) == 0
    for number, stage in enumerate(arrival.stages):
        mask = (frame.cls == name) & (frame.stage == str(number)) & first
        if stage.end_rate in (None, stage.rate) and int(mask.sum()) >= FEWEST:
            yield str(number) if len(arrival.stages) > 1 else "", frame.intended[mask], frame.start[mask]


def _arrival_check(label: str, plan: ClassPlan, times: Floats, starts: Floats) -> Check:
    shape = (
        math.inf
        if plan.process == "constant"
        else (plan.burstiness or 1.0)
        if plan.process == "gamma"
        else 1.0
    )
    theory = 0.0 if math.isinf(shape) else 1 / math.sqrt(shape)
    n = times.size
    seen, kept = variation(times), variation(np.sort(starts[np.isfinite(starts)]))
    iod = dispersion(times, max((times[-1] - times[0]) / n * 20, 1e-9))
    slack = _slack(theory, n)
    rate = (n - 1) / float(times[-1] - times[0])
    words = f"{plan.process} at {rate:.4g}/s: CV {seen:.3f} planned, {kept:.3f} kept (theory {theory:.3g})"
    if not math.isnan(iod):
        words += f", dispersion {iod:.2f}"
    status: Status = (
        "ok" if abs(seen - theory) <= slack and abs(kept - seen) <= KEPT_WARN * max(1, theory) else "warn"
    )
    return Check(label, status, words, seen)


def _slack(theory: float, n: int) -> float:
    """SIGMAS standard errors of the CV of gamma gaps (delta method); a constant rate gets a round-off."""
    return max(0.05, SIGMAS * theory * math.sqrt((1 + theory * theory) / (2 * n)))


def variation(times: Floats) -> float:
    """Coefficient of variation of the gaps between sorted times."""
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean()) if gaps.size and gaps.mean() > 0 else math.nan


def dispersion(times: Floats, width: float) -> float:
    """Index of dispersion: variance over mean of counts in windows of `width` seconds."""
    bins = int((times[-1] - times[0]) / width)
    if bins < 5:
        return math.nan
    counts = np.histogram(times, bins, (times[0], times[0] + bins * width))[0]
    return float(counts.var() / counts.mean())


def reuse(frame: Frame) -> Check:
    """Share of requests on a connection that had carried one before."""
    used = frame.records.take(np.isfinite(frame.records.numbers("connected")))
    if len(used) < FEWEST:
        return Check("connection reuse", "skip", f"fewer than {FEWEST} requests")
    share = float(used.numbers("reused").mean())
    resent = int(used.numbers("resent").sum())
    words = f"{100 * share:.1f} % of requests" + (
        f"; {resent} sent again, the server had closed the idle connection" if resent else ""
    )
    return Check("connection reuse", "ok" if share >= REUSE_WARN else "warn", words, share)


def usage(frame: Frame) -> Check:
    """What token figures rest on: counts from the server, a first token, events that could be read."""
    ok = int(frame.ok.sum())
    if not ok:
        return Check("usage", "skip", "no request was ok")
    odd = _odd(frame.records.take(frame.ok))
    without = sum(count for each, count in odd if each.uncounted)
    whole = sum(count for each, count in odd if each.whole)
    silent = sum(count for each, count in odd if each.silent)
    unread = sum(count for each, count in _odd(frame.records) if each.unread)
    wrong = [
        (without, "carried no token counts (events were counted: TPOT and tokens per second are estimates)"),
        (whole, "came whole where a stream was asked for: no TTFT, no TPOT"),
        (silent, "were streams without a first token"),
    ]
    words = [f"{count} of {ok} ok answers {what}" for count, what in wrong if count]
    if unread:
        words.append(f"{unread} streams had events that are no JSON of the API, which were left out")
    if not words:
        return Check("usage", "ok", f"0 of {ok} ok answers carried no token counts", 0)
    return Check("usage", "warn", "; ".join(words), max(without, whole, silent, unread))


def _odd(records: Records) -> list[tuple[Odd, int]]:
    """What is odd about answers, and at how many of them."""
    codes, kinds = records.codes("odd")
    counts = np.bincount(codes, minlength=len(kinds)).tolist()
    return [(kind, count) for kind, count in zip(kinds, counts, strict=True) if kind is not None]


def named_pods(frame: Frame) -> Check:
    """Counts of pods must add up to the count of ok."""
    ok, named = int(frame.ok.sum()), int((frame.ok & (frame.pod != "")).sum())
    if not named:
        return Check("pods add up to ok", "skip", "no answer names its pod (no x-inference-pod header)")
    status: Status = "ok" if named == ok else "fail"
    return Check(
        "pods add up to ok", status, f"{named} of {ok} ok answers name the pod that served them", named
    )


def meant_stack(run: RunData) -> list[Check]:
    """Answers from pods of another stack than the one that was meant; none where only one is listed."""
    foreign = run.meta.foreign
    if not foreign:
        return []
    strays = Counter(foreign[record.pod] for record in run.records if record.pod in foreign)
    meant = run.meta.stack or "the one that was meant"
    if not strays:
        return [Check("the stack that was meant", "ok", f"no answer came from another stack than {meant}", 0)]
    told = ", ".join(f"{count} answers came from pods of stack {name}" for name, count in strays.items())
    return [Check("the stack that was meant", "fail", f"{told}, not of {meant}", strays.total())]


def pod_counters(run: RunData) -> Check:
    """Requests answered per pod against each pod's own counter of finished requests.

    A pod may have counted more than we saw complete (answers we cancelled or lost), never fewer.
    """
    name = "ids at the pods"
    known = _growth(run, "succeeded")
    if not known:
        return Check(
            name, "skip", "no request counters scraped before the first start and after the last end"
        )
    ok = Counter(run.records.take(run.records.among("outcome", ("ok",))).labels("pod").tolist())
    started = np.isfinite(run.records.numbers("start"))
    lost = int((started & ~run.records.among("outcome", ("ok",))).sum())
    short = {pod: ok[pod] - count for pod, count in known.items() if count < ok[pod]}
    surplus = sum(max(0, count - ok[pod]) for pod, count in known.items() if pod in run.answerers)
    if short:
        pod, by = max(short.items(), key=lambda item: item[1])
        changed = ", but things were done to the fleet during the run" if run.marks else ""
        words = f"{pod} counted {by:g} fewer than it answered{changed}"
        return Check(name, "warn" if changed else "fail", words, by)
    if surplus > lost:
        return Check(name, "warn", f"pods counted {surplus - lost:g} requests that are not ours", surplus)
    here = sum(ok[pod] for pod in known)
    return Check(name, "ok", f"{sum(known.values()):g} finished at {len(known)} pods, {here} ok here", 0)


def hit_counters(run: RunData) -> Check:
    """Cached tokens in the answers against the pods' prefix-cache hit counters."""
    name = "cache hits at the pods"
    known = _growth(run, "hits")
    tokens = run.records.numbers("cached_tokens")
    if not known or not np.isfinite(tokens).any():
        return Check(name, "skip", "no cached-token counts on one side")
    theirs, mine = sum(known.values()), int(np.nansum(tokens[run.records.among("pod", known)]))
    sure = run.records.among("outcome", ("ok", "missed", "skipped", "shed_429"))
    unsure = not sure.all() or bool(run.marks)
    gap = abs(theirs - mine) / max(theirs, mine, 1)
    status: Status = "ok" if gap <= 0.001 or (unsure and gap < 0.05) else "warn"
    return Check(name, status, f"{theirs:.0f} tokens at the pods, {mine} in the answers", gap)


def _growth(run: RunData, column: str) -> dict[str, float]:
    """Growth of a counter by pod, of those scraped before the first start and after the last end."""
    whole = [pod for pod in run.known_pods.values() if {"before", "after"} <= pod.phases]
    whole = [pod for pod in whole if pod.name in run.answerers or column != "hits"]
    grown = {pod.name: pod.grew(column) for pod in whole}
    return {name: count for name, count in grown.items() if count is not None}
