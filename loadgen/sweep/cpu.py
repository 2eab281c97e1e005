"""Whether this machine had enough CPU, by what its kernel says of tasks that waited for one."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.client.proxies import is_loopback

PRESSURE = Path("/proc/pressure/cpu")
_TOTAL = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)


class CpuPressure:
    """From its making on: the share of time in which any task waited for a CPU (Linux, PSI)."""

    def __init__(self) -> None:
        self._begin, self._waited = time.monotonic(), _waited()

    def share(self) -> float | None:
        """0 to 1; None where the kernel does not say."""
        waited, seconds = _waited(), time.monotonic() - self._begin
        if waited is None or self._waited is None or seconds <= 0:
            return None
        return min(1.0, (waited - self._waited) / seconds)


def _waited() -> float | None:
    """Seconds since boot in which a task waited."""
    try:
        found = _TOTAL.search(PRESSURE.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[1]) / 1e6 if found else None


def is_here(url: str) -> bool:
    """Whether a server is on this machine: at a loopback address."""
    return is_loopback(urlsplit(url).hostname or "")
