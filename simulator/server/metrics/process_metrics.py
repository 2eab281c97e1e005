"""process_* and python_* through prometheus_client, for a process that is one replica.

Reading /proc costs more than the whole rest of a scrape, so the text is kept for a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_KEPT_SECONDS = 1.0


class ProcessMetrics:
    """The first families of a vLLM server's /metrics, in the recorded order.

    Imports prometheus_client when asked.
    """

    def __init__(self) -> None:
        self._text = ""
        self._until = 0.0
        self._generate: Callable[[], str] | None = None

    def render(self) -> str:
        now = time.monotonic()
        if now >= self._until:
            if self._generate is None:
                self._generate = _generator()
            self._text = self._generate()
            self._until = now + _KEPT_SECONDS
        return self._text


def _generator() -> Callable[[], str]:
    from prometheus_client import (  # noqa: PLC0415 - 20 ms and 5 MB that a start does not need
        CollectorRegistry,
        GCCollector,
        PlatformCollector,
        ProcessCollector,
    )
    from prometheus_client.exposition import generate_latest  # noqa: PLC0415

    registry = CollectorRegistry()
    GCCollector(registry)
    PlatformCollector(registry)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry).decode()
