"""The live table of a running stack: `python -m gateway.commands.table SOCKET`.

A process of its own that asks the stack once a second and reads the gateways' access logs itself.
"""

from __future__ import annotations

import collections
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from gateway.commands.ps import heading, pods_table
from gateway.doctor.evidence import log_entries
from gateway.errors import ControlError
from gateway.stack.socket import ask
from kit.logtail import Tail
from kit.printable import cell

INTERVAL_S = 1.0
EVENT_LINES = 8

Json = dict[str, Any]


class LogCounter:
    """Counts the lines of an access log as they are written: by upstream host, by pick, by status class."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self.served: collections.Counter[str] = collections.Counter()
        self.picked: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[str] = collections.Counter()

    def read(self) -> None:
        """Count what came since the last call; a line that is not finished waits."""
        for entry in log_entries(line.decode(errors="replace") for line in self._tail.lines()):
            self.statuses[f"{str(entry.get('status'))[:1]}xx"] += 1
            if host := entry.get("upstream_host"):
                self.served[host] += 1
            if pick := entry.get("picked"):
                self.picked[pick.split(",")[0]] += 1


class Rates:
    """Differences of counters per second, from one look to the next."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._at = time.monotonic()

    def per_second(self, counts: collections.Counter[str]) -> dict[str, float]:
        now = time.monotonic()
        span = max(now - self._at, 1e-6)
        rates = {key: (n - self._last.get(key, 0)) / span for key, n in counts.items()}
        self._last, self._at = dict(counts), now
        return rates


def render(
    report: Json, served: dict[str, float], picked: dict[str, float], statuses: dict[str, int]
) -> Group:
    """The whole screen."""
    answers = "  ".join(f"{name} {count}" for name, count in sorted(statuses.items())) or "none yet"
    pickers = "  ".join(f"{p['name']} ({p['kind']}, {p['state']})" for p in report["pickers"])
    lines = [cell(f"answers  {answers}"), cell(f"pickers  {pickers}")]
    lines += [cell(line, "dim") for line in report["events"][-EVENT_LINES:]]
    lines.append(cell(heading(report), "italic"))
    return Group(*lines, pods_table(report["pods"], served, picked))


def watch(socket: Path) -> None:
    """Draw until the stack is gone."""
    logs: dict[str, LogCounter] = {}
    served_rates, picked_rates = Rates(), Rates()
    with Live(console=Console(), refresh_per_second=1, auto_refresh=False) as live:
        while True:
            try:
                report = ask(socket, "status", timeout_s=10.0)
            except ControlError:
                return
            for gateway in report["gateways"]:
                path = gateway["access_log"]
                logs.setdefault(path, LogCounter(Path(path))).read()
            served = sum((log.served for log in logs.values()), collections.Counter())
            picked = sum((log.picked for log in logs.values()), collections.Counter())
            statuses = sum((log.statuses for log in logs.values()), collections.Counter())
            screen = render(
                report, served_rates.per_second(served), picked_rates.per_second(picked), dict(statuses)
            )
            live.update(screen, refresh=True)
            time.sleep(INTERVAL_S)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the stack's; it ends this process, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    watch(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
