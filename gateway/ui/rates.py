"""Requests by second: what flows where, how quick it is, and the points of the timeline. Bounded rings."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from gateway.ui.rows import Access
from gateway.why.decision import Decision
from gateway.why.explain import picker_ms

Json = dict[str, Any]
WINDOW_S = 10  # seconds that the flow is averaged over
POINTS = 900  # seconds of timeline that are kept


@dataclass
class Second:
    """What was written within one second; times in milliseconds."""

    flows: Counter[tuple[str, str, str, str, str, str]] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    picks: Counter[str] = field(default_factory=Counter)
    first_bytes: list[float] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    picker: list[float] = field(default_factory=list)
    deciding: list[float] = field(default_factory=list)


class Rates:
    """Counts the lines of one second after the other."""

    def __init__(self) -> None:
        self._now = Second()
        self._window: deque[Second] = deque(maxlen=WINDOW_S)
        self.points: deque[Json] = deque(maxlen=POINTS)

    def answered(self, gateway: str, port: str, entry: Access) -> None:
        """A line of an access log of `gateway`, at its listener `port`."""
        second = self._now
        key = (gateway, port, entry.route or "", entry.cluster or "", entry.place, entry.kind)
        second.flows[key] += 1
        second.statuses[entry.kind] += 1
        if entry.first_byte_ms is not None and (entry.status or 0) < 400:
            second.first_bytes.append(entry.first_byte_ms)
        if entry.duration_ms is not None:
            second.durations.append(entry.duration_ms)
        if (waited := picker_ms(entry.ext_proc or "")) is not None:
            second.picker.append(waited)

    def decided(self, decision: Decision) -> None:
        """A line of a decision log."""
        if decision.pick:
            self._now.picks[decision.pick[0]] += 1
        if decision.duration_us is not None:
            self._now.deciding.append(decision.duration_us / 1000)

    def turn(self, wall: float, report: Json, tokens: float) -> Json:
        """End the second at `wall`; its point. tokens: generated since the last one."""
        second, self._now = self._now, Second()
        self._window.append(second)
        pods = report.get("pods", ())
        point = {
            "t": round(wall, 2),
            "n": second.statuses.total(),
            "bad": second.statuses.total() - second.statuses["2xx"] - second.statuses["3xx"],
            "p50": quantile(second.first_bytes, 0.5),
            "p90": quantile(second.first_bytes, 0.9),
            "tokens": round(tokens, 1),
            "running": sum(pod.get("running", 0) for pod in pods),
            "waiting": sum(pod.get("waiting", 0) for pod in pods),
            "picks": dict(second.picks),
        }
        self.points.append(point)
        return point

    def flow(self) -> Json:
        """Requests a second over the window: each way from gateway to pod, and what each hop takes."""
        span = max(len(self._window), 1)
        flows: Counter[tuple[str, str, str, str, str, str]] = Counter()
        for second in self._window:
            flows.update(second.flows)
        names = ("gateway", "port", "route", "cluster", "place", "kind")
        hops = {
            name: _hop([value for second in self._window for value in getattr(second, field)])
            for name, field in (
                ("whole", "durations"),
                ("first_byte", "first_bytes"),
                ("picker", "picker"),
                ("deciding", "deciding"),
            )
        }
        ways = [{**dict(zip(names, key, strict=True)), "rate": n / span} for key, n in flows.items()]
        return {"ways": ways, "hops": hops, "window_s": span}


def _hop(values: list[float]) -> Json | None:
    if not values:
        return None
    return {"p50": quantile(values, 0.5), "p90": quantile(values, 0.9), "count": len(values)}


def quantile(values: list[float], share: float) -> float | None:
    """The value below which `share` of them lie (nearest rank); None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
