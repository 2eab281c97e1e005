"""How long a disturbance lasted: from each event until answers are as good as before it.

Before: the requests of the `BEFORE` seconds ahead of the event. After: a sliding window of requests by
intended start. Recovered is the first moment from which a window's p90 E2E is within `SLACK` of before and
its share of ok within a point, for `HOLD` seconds on end (or until the run ends).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from loadgen.numbers.figure import Card
from loadgen.records.frame import Frame
from loadgen.records.table import Mask

BEFORE = 10.0
WINDOW = 1.0
STEP = 0.25
HOLD = 2.0
SLACK = 1.25
OK_SLACK = 0.01
FEWEST = 5


class Recovery(Card):
    """One event and how long it was felt; of one that cannot be judged only `why`, which says what lacks."""

    event: str
    at: float
    judged: bool
    why: str | msgspec.UnsetType = msgspec.UNSET
    p90_before: float | None = None
    """Of E2E from the intended start, seconds."""
    ok_before: float | None = None
    p90_worst: float | None = None
    """Of the worst window after the event; None too where nothing was ok in it."""
    ok_worst: float | None = None
    seconds: float | None = None
    """Time to recover; None too where that was not in this run."""
    window: float = WINDOW


def recovery(frame: Frame, events: Sequence[tuple[float, str]]) -> list[Recovery]:
    """One entry per event."""
    out = []
    for index, (at, name) in enumerate(events):
        until = events[index + 1][0] if index + 1 < len(events) else float("inf")
        found = _felt(frame, at, until)
        out.append(
            Recovery(event=name, at=at, judged=False, why=found)
            if isinstance(found, str)
            else Recovery(event=name, at=at, judged=True, **found)
        )
    return out


def _felt(frame: Frame, at: float, until: float) -> dict[str, Any] | str:
    """Before, worst after and time to recover, or why there is nothing to say."""
    before = _quality(frame, (frame.intended >= at - BEFORE) & (frame.intended < at))
    if before is None:
        return f"fewer than {FEWEST} requests in the {BEFORE:g} s before it"
    end = min(until, float(frame.intended[-1]))
    starts = np.arange(at, max(at, end - WINDOW) + STEP / 2, STEP)
    windows = [_quality(frame, (frame.intended >= s) & (frame.intended < s + WINDOW)) for s in starts]
    seen = [window for window in windows if window is not None]
    if not seen:
        return "hardly any request after it"
    good = [w is None or (w[0] <= before[0] * SLACK and w[1] >= before[1] - OK_SLACK) for w in windows]
    return {
        "p90_before": before[0],
        "ok_before": before[1],
        "p90_worst": max(w[0] for w in seen),
        "ok_worst": min(w[1] for w in seen),
        "seconds": _held_from(good),
    }


def _held_from(good: Sequence[bool]) -> float | None:
    """Seconds from the event to the start of the first stretch of good windows that lasts."""
    need = round(HOLD / STEP)
    for index in range(len(good)):
        stretch = good[index : index + need]
        if stretch and all(stretch) and (len(stretch) == need or index + need > len(good)):
            return index * STEP
    return None


def _quality(frame: Frame, mask: Mask) -> tuple[float, float] | None:
    """(p90 of E2E from intended start, share ok) of the requests under `mask`; None when they are too few."""
    due = mask & (frame.outcome != "skipped")
    if int(due.sum()) < FEWEST:
        return None
    ok = due & frame.ok
    times = (frame.end - frame.intended)[ok]
    slow = float(np.percentile(times, 90)) if times.size else float("inf")
    return slow, float(ok.sum() / due.sum())
