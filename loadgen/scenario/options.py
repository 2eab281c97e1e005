"""How a run is to be made, as opposed to what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run, as opposed to what."""

    out: Path | None = None
    plan: Path | None = None
    quiet: bool = False
    selftest: bool = True
    slice: tuple[int, int] = (0, 1)
    start_at: float | None = None
    """Wall-clock t0, so that several machines begin together."""
    metrics_port: int | None = None
    """Serve the totals so far in Prometheus' text format on this port of 127.0.0.1; 0: any free one."""
    traceparent: bool = False
    """Give each request a W3C trace context of its own."""
    arm: str | None = None
    repeat: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    ui: str | None = None
    """`print` or `open`: have the live page of the stack at the target served meanwhile."""
