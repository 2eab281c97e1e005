"""A picture of figures against the rate, with a mark where the limit is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.report.svg import Canvas, Formatter, number


@dataclass(frozen=True, slots=True)
class Series:
    """(requests per second, value) in order of rate; `cls` is its CSS class."""

    name: str
    points: tuple[tuple[float, float], ...]
    cls: str


def curve(
    width: int,
    title: str,
    series: Sequence[Series],
    show: Formatter,
    *,
    mark: float | None = None,
    top: float | None = None,
    log: bool = False,
) -> str:
    """SVG of all series over a common rate axis; `mark` is a rate, `top` the end of the other axis."""
    canvas = Canvas(width, 230 if width < 500 else 270, title)
    rates = [rate for each in series for rate, _ in each.points]
    values = [value for each in series for _, value in each.points if math.isfinite(value)] or [1.0]
    x = canvas.x_scale(0.0, max([*rates, mark or 0.0, 1e-9]) * 1.04)
    low = max(1e-5, min(values) * 0.8) if log else 0.0
    y = canvas.y_scale(low, top if top is not None else max(max(values) * 1.1, low * 3, 1e-9), log)
    canvas.x_axis(x, number)
    canvas.y_axis(y, show)
    if mark is not None:
        canvas.events(x, [(mark, f"limit {number(mark)}/s")])
    for each in series:
        canvas.path([(x(rate), y(value)) for rate, value in each.points], f"line {each.cls}", hint=each.name)
        for rate, value in each.points:
            hint = f"{each.name}: {number(rate)}/s, {show(value)}"
            canvas.dot(x(rate), y(value), f"dot {each.cls}", hint=hint)
    return canvas.svg()
