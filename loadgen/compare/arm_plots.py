"""Pictures of a comparison: effects with their intervals, and the repeats of each arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from loadgen.report.plots import shorten
from loadgen.report.svg import Canvas, Formatter, seconds

CHARACTER = 6.8  # pixels that a character of a label takes, generously
NARROW_LABEL = 16  # characters of a label's line on a phone


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of the forest plot: a relative change or a difference of shares with its interval."""

    label: str
    value: float
    low: float
    high: float
    tone: str
    """good, bad or none."""
    words: str


def forest(width: int, title: str, effects: Sequence[Effect]) -> str:
    """Effects with their intervals about zero; beyond +-100 % the axis ends and an arrow's colour remains."""
    cell = 28.0
    narrow = width < 500
    labels = [wrap(e.label, NARROW_LABEL) if narrow else [e.label] for e in effects]
    longest = max((len(line) for lines in labels for line in lines), default=0)
    left = max(80.0, 18 + CHARACTER * longest)
    words = max((len(e.words) for e in effects), default=0)
    right = 14.0 if narrow else max(100.0, 24 + CHARACTER * words)
    canvas = Canvas(width, 34 + cell * len(effects), title, left=left, right=right, top=8)
    reach = max([abs(v) for e in effects for v in (e.low, e.high) if math.isfinite(v)] + [0.05])
    reach = min(1.0, reach * 1.05)
    x = canvas.x_scale(-reach, reach)
    canvas.x_axis(x, lambda v: f"{100 * v:+.0f} %" if v else "0")
    canvas.line(x(0), canvas.top, x(0), canvas.height - canvas.bottom, "axis")
    for r, effect in enumerate(effects):
        y = canvas.top + (r + 0.5) * cell
        for i, line in enumerate(labels[r]):
            canvas.text(left - 8, y + 4 + 12 * (i - (len(labels[r]) - 1) / 2), line, "tick strong", "end")
        canvas.line(x(effect.low), y, x(effect.high), y, f"whisker {effect.tone}")
        for end in (effect.low, effect.high):
            canvas.line(x(end), y - 5, x(end), y + 5, f"whisker {effect.tone}")
        canvas.dot(
            x(effect.value), y, f"point {effect.tone}", radius=5, hint=f"{effect.label} {effect.words}"
        )
        if not canvas.narrow:
            canvas.text(width - right + 12, y + 4, effect.words, "value", "start")
    return canvas.svg()


def strips(
    width: int, title: str, rows: Sequence[tuple[str, Sequence[float], str]], show: Formatter = seconds
) -> str:
    """One dot per repeat for each arm (name, values, class), with a tick at the mean."""
    cell = 34.0
    left = min(width * 0.36, 20 + 6.6 * max((len(name) for name, _, _ in rows), default=0))
    canvas = Canvas(width, 36 + cell * len(rows), title, left=left, top=8)
    values = [v for _, column, _ in rows for v in column] or [0.0, 1.0]
    slack = (max(values) - min(values)) * 0.1 or abs(values[0]) * 0.1 or 1
    x = canvas.x_scale(max(0.0, min(values) - slack), max(values) + slack)
    canvas.x_axis(x, show)
    for r, (name, column, cls) in enumerate(rows):
        y = canvas.top + (r + 0.5) * cell
        canvas.text(left - 8, y + 4, shorten(name, left), "tick strong", "end")
        canvas.line(left, y, width - canvas.right, y, "grid")
        for repeat, value in enumerate(column, start=1):
            canvas.dot(
                x(value), y, f"point {cls}", radius=4.5, hint=f"{name}, repeat {repeat}: {show(value)}"
            )
        if column:
            mean = sum(column) / len(column)
            canvas.line(x(mean), y - 11, x(mean), y + 11, f"whisker {cls}")
    return canvas.svg()
