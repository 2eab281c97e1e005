"""From what metrics ask for to what is done: stabilisation windows, rates, least and greatest number.

No I/O; `now` comes in, in seconds. Source: kubernetes/pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.autoscale.hpa import DOWNSCALE_WINDOW_S, Hpa, ScalingRules

# Without `behavior` the controller at most doubles, and goes to 4 at once.
_UP_FACTOR, _UP_LEAST = 2.0, 4


@dataclass(frozen=True)
class Limited:
    """Replicas within the rules, and what limited them; an empty reason for nothing."""

    replicas: int
    reason: str = ""


@dataclass
class History:
    """What one autoscaler recommended and did, as far as its windows reach."""

    downscale_window_s: float = DOWNSCALE_WINDOW_S
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)  # replicas more (above 0) or fewer

    def limited(self, hpa: Hpa, current: int, wanted: int, now: float) -> Limited:
        """What becomes of `wanted` at `now`; it is remembered as a recommendation."""
        stable = self._stable(hpa, current, wanted, now)
        if not hpa.has_behavior:
            return _within(hpa, stable, current)
        if stable > current:
            return self._up(hpa, current, stable, now)
        if stable < current:
            return self._down(hpa, current, stable, now)
        return Limited(stable)

    def changed(self, hpa: Hpa, before: int, after: int, now: float) -> None:
        """Remember that the replicas were changed at `now`."""
        longest = max((p.period_s for r in (hpa.up, hpa.down) for p in r.policies), default=0.0)
        self._changes = [(t, by) for t, by in self._changes if t >= now - longest]
        self._changes.append((now, after - before))

    def _stable(self, hpa: Hpa, current: int, wanted: int, now: float) -> int:
        """The least change that every recommendation within the windows agrees on."""
        if not hpa.has_behavior:
            window = self.downscale_window_s
            recent = [n for t, n in self._recommended if t > now - window]
            self._remember(wanted, now, window)
            return max([wanted, *recent])
        up_s, down_s = hpa.up.window_s, hpa.down.window_s
        least = min([wanted, *(n for t, n in self._recommended if t > now - up_s)])
        most = max([wanted, *(n for t, n in self._recommended if t > now - down_s)])
        self._remember(wanted, now, max(up_s, down_s))
        return min(max(current, least), most)

    def _remember(self, wanted: int, now: float, window_s: float) -> None:
        self._recommended = [(t, n) for t, n in self._recommended if t > now - window_s]
        self._recommended.append((now, wanted))

    def _at_start(self, current: int, period_s: float, now: float) -> int:
        """The replicas that there were `period_s` ago."""
        return current - sum(by for t, by in self._changes if t > now - period_s)

    def _up(self, hpa: Hpa, current: int, wanted: int, now: float) -> Limited:
        limit = max(self._limit(hpa.up, current, now, sign=1), current)
        if wanted <= min(limit, hpa.max_replicas):
            return Limited(wanted)
        if hpa.max_replicas > limit:
            return Limited(limit, "ScaleUpLimit")
        return Limited(hpa.max_replicas, "TooManyReplicas")

    def _down(self, hpa: Hpa, current: int, wanted: int, now: float) -> Limited:
        limit = min(self._limit(hpa.down, current, now, sign=-1), current)
        if wanted >= max(limit, hpa.min_replicas):
            return Limited(wanted)
        if hpa.min_replicas < limit:
            return Limited(limit, "ScaleDownLimit")
        return Limited(hpa.min_replicas, "TooFewReplicas")

    def _limit(self, rules: ScalingRules, current: int, now: float, sign: int) -> int:
        """How far the policies let go; Max selects the one that changes most."""
        if rules.select == "Disabled":
            return current
        found = []
        for policy in rules.policies:
            start = self._at_start(current, policy.period_s, now)
            if policy.kind == "Pods":
                found.append(start + sign * policy.value)
            elif sign > 0:
                found.append(math.ceil(start * (100 + policy.value) / 100))
            else:
                found.append(int(start * (100 - policy.value) / 100))
        widest = (rules.select == "Max") == (sign > 0)
        return max(found) if widest else min(found)


def _within(hpa: Hpa, wanted: int, current: int) -> Limited:
    """The older rules, of an HPA without `behavior`."""
    limit = int(max(_UP_FACTOR * current, _UP_LEAST))
    if wanted < hpa.min_replicas:
        return Limited(hpa.min_replicas, "TooFewReplicas")
    if wanted > min(limit, hpa.max_replicas):
        if hpa.max_replicas > limit:
            return Limited(limit, "ScaleUpLimit")
        return Limited(hpa.max_replicas, "TooManyReplicas")
    return Limited(wanted)
