"""The view of a running load: a panel that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TextIO

from kit.printable import cell, one_line
from loadgen.numbers.progress import Histogram, Progress
from loadgen.numbers.shortnames import short_names

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_EVERY = 5.0
BAR_WIDTH = 30
PODS_SHOWN = 16


class View(Protocol):
    """What the runner tells while it runs."""

    def update(self, snapshot: Snapshot) -> None: ...
    def close(self) -> None: ...


class Snapshot:
    """Totals so far and the recent rate; made anew by the runner twice a second."""

    def __init__(self, name: str, planned: int | None, span: float, closed: bool) -> None:
        self.name = name
        self.planned = planned
        self.span = span
        self.closed = closed
        self.total = Progress()
        self.recent = Progress()
        self.recent_seconds = 1.0
        self.in_flight = 0
        self.time = 0.0
        self.asked: float | None = None
        self.states: dict[str, dict[str, float]] = {}
        self.scrape_note = ""
        self.warnings: list[str] = []

    @property
    def done_share(self) -> float:
        """How much of the run is over."""
        by_time = self.time / self.span if self.span > 0 else 0.0
        by_count = self.total.done / self.planned if self.planned else 0.0
        return min(1.0, max(by_time, by_count))

    @property
    def time_left(self) -> float | None:
        """Seconds until the end, as far as it can be told."""
        if self.span > 0:
            return max(0.0, self.span - self.time)
        share = self.done_share
        return self.time * (1 - share) / share if share > 0.01 else None


def milliseconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    if value >= 10:
        return f"{value:.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.1f} ms"


def percentiles(histogram: Histogram) -> str:
    """p50 / p90 / p99 in one string."""
    return " / ".join(milliseconds(histogram.quantile(share)) for share in (0.5, 0.9, 0.99))


def plain_line(snapshot: Snapshot) -> str:
    """One line that says it all."""
    total = snapshot.total
    rate = snapshot.recent.attempts / max(1e-9, snapshot.recent_seconds)
    asked = f"/{snapshot.asked:g}" if snapshot.asked is not None else ""
    outcomes = " ".join(f"{name} {count}" for name, count in sorted(total.outcomes.items()))
    left = snapshot.time_left
    return (
        f"{snapshot.time:6.1f} s  {rate:.1f}{asked} req/s  in flight {snapshot.in_flight}  "
        f"{outcomes or 'no answer yet'}  ttft p50/p90/p99 {percentiles(total.ttft)}  "
        f"late p99 {milliseconds(total.late.quantile(0.99))}"
        + (f"  {left:.0f} s left" if left is not None else "")
    )


class PlainView:
    """A line every few seconds."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = monotonic() + LINE_EVERY

    def update(self, snapshot: Snapshot) -> None:
        now = monotonic()
        if now >= self._next:
            self._next = now + LINE_EVERY
            print(one_line(plain_line(snapshot)), file=self._out, flush=True)  # this is the output

    def close(self) -> None:
        """Nothing to close."""


class SilentView:
    """No view (`--quiet`, tests)."""

    def update(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to close."""


class RichView:
    """The redrawn panel."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415  # 50 ms that --help need not pay
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(console=Console(file=out), refresh_per_second=4, auto_refresh=False, transient=True)
        self._live.start()

    def update(self, snapshot: Snapshot) -> None:
        self._live.update(render(snapshot), refresh=True)

    def close(self) -> None:
        self._live.stop()


def _bar(share: float, width: int = BAR_WIDTH) -> str:
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)


def render(snapshot: Snapshot) -> RenderableType:
    """The panel of one moment."""
    from rich.console import Group  # noqa: PLC0415
    from rich.panel import Panel  # noqa: PLC0415

    left = snapshot.time_left
    head = f"{_bar(snapshot.done_share)} {snapshot.done_share:4.0%}  {snapshot.time:.1f} s"
    if left is not None:
        head += f", {left:.0f} s left"
    parts: list[RenderableType] = [cell(head), _figures(snapshot)]
    if snapshot.total.pods:
        parts.append(_pods(snapshot))
    if snapshot.scrape_note:
        parts.append(cell(snapshot.scrape_note, "dim"))
    parts += [cell(f"! {warning}", "yellow") for warning in snapshot.warnings]
    return Panel(Group(*parts), title=cell(f"loadgen · {snapshot.name}"), expand=False)


def _figures(snapshot: Snapshot) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415

    total, recent = snapshot.total, snapshot.recent
    seconds = max(1e-9, snapshot.recent_seconds)
    table = Table.grid(padding=(0, 2))
    asked = f"{snapshot.asked:g} asked, " if snapshot.asked is not None else ""
    table.add_row(
        "rate", f"{asked}{recent.attempts / seconds:.1f} sent, {recent.done / seconds:.1f} ended /s"
    )
    table.add_row("in flight", str(snapshot.in_flight))
    outcomes = "  ".join(f"{name} {count}" for name, count in sorted(total.outcomes.items()))
    table.add_row("outcomes", cell(outcomes or "-"))
    table.add_row("TTFT", f"{percentiles(total.ttft)}   p50 / p90 / p99")
    table.add_row("TPOT", percentiles(total.tpot))
    table.add_row("E2E", f"{percentiles(total.latency)}   from the intended start")
    late = f"p99 {milliseconds(total.late.quantile(0.99))}, max {milliseconds(total.late.most)}"
    table.add_row("start lateness", f"{late}, missed {total.missed}")
    return table


def _pods(snapshot: Snapshot) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    pods = snapshot.total.pods
    shown = short_names(pods)
    most, everything = max(pods.values()), sum(pods.values())
    for name in sorted(pods)[:PODS_SHOWN]:
        count = pods[name]
        state = snapshot.states.get(name, {})
        gauges = "  ".join(
            f"{key} {state[key]:.0%}" if key == "kv" else f"{key} {state[key]:g}"
            for key in ("running", "waiting", "kv")
            if key in state
        )
        table.add_row(
            cell(shown[name]), _bar(count / most, 20), f"{count} ({count / everything:.0%})", gauges
        )
    if len(pods) > PODS_SHOWN:
        table.add_row(f"and {len(pods) - PODS_SHOWN} more", "", "", "")
    return table


def make_view(*, quiet: bool, out: TextIO | None = None) -> View:
    """The view that fits where the output goes."""
    stream = out or sys.stderr
    if quiet:
        return SilentView()
    return RichView(stream) if stream.isatty() else PlainView(stream)
