"""What a comparison is at, from its first second on: lines, and on a terminal one that renews itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.text import Text

Say = Callable[[str], None]


class Progress:
    """Stages and ends of runs as they come, with the time left; a context manager for its live line."""

    def __init__(self, say: Say, total: int, screen: Console | None = None, *, at_most: bool = False) -> None:
        """total: runs in all, with `at_most` the most. screen: a terminal to keep a live line on."""
        self.span = 0.0
        """Seconds that a run's plan takes by itself."""
        self.total = total
        self.done = 0
        self._say = say
        self._at_most = at_most
        self._where = self._stage = ""
        self._begun = self._first = self._since = monotonic()
        self._took = 0.0
        live = screen is not None and screen.is_terminal
        self._live = (
            Live(get_renderable=self._line, console=screen, refresh_per_second=2, transient=True)
            if live
            else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def tell(self, words: str) -> None:
        """A line that stays."""
        self._say(words)

    def stage(self, words: str) -> None:
        """What begins within a run, or between runs; only a terminal shows it."""
        self._stage, self._since = words, monotonic()

    def begins(self, run: str) -> None:
        """A run begins, its setup first; `run` is its name in words."""
        self._where, self._begun = run, monotonic()
        self.stage("")
        self.tell(f"{self._where}: begins ({self.left()})")

    def ended(self, words: str) -> None:
        """The run is over; `words` say how it was."""
        self.done += 1
        self._took += monotonic() - self._begun
        self.tell(f"{self._where}: {words}")
        self._where = ""

    def left(self) -> str:
        """The time until the end in words, by the runs so far; before any has ended by the plan alone."""
        now = monotonic()
        runs = self.total - self.done
        if not self.done:
            return f"{runs} runs" + (f", {minutes(runs * self.span)} of load alone" if self.span else "")
        running = now - self._begun if self._where else 0.0
        seconds = max(0.0, runs * self._took / self.done - running)
        return f"{'at most ' if self._at_most else ''}about {minutes(seconds)} left"

    def _line(self) -> Text:
        now = monotonic()
        parts = [part for part in (self._where, self._stage) if part]
        words = ", ".join(parts) or "begins"
        return Text(
            f"[{minutes(now - self._first)}] {words} for {minutes(now - self._since)}; {self.left()}",
            style="dim",
        )


def minutes(seconds: float) -> str:
    """Whole seconds, from two minutes on minutes and seconds."""
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"
