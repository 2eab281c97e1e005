"""SVG by hand: scales, axes and the few marks that the report's pictures are made of.

Colours are CSS classes and variables of the page (report.css), so one picture serves light, dark and print.
A `Canvas` is one picture of a fixed width in CSS pixels; the page carries each picture in two widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from loadgen.numbers.quantity import digits, show_time

Formatter = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values in [low, high] to pixels in [start, end]; `log` for values above zero."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log(max(x, 1e-12)) for x in (value, low, high))
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most about `most` round values inside the scale."""
        return log_ticks(self.low, self.high, most) if self.log else linear_ticks(self.low, self.high, most)


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, with 2 and 5 between them where there is room; within one power plain round values."""
    if high < 8 * low:
        return [tick for tick in linear_ticks(low, high, most) if tick > 0]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**d for d in decades for m in steps if low * 0.999 <= m * 10.0**d <= high * 1.001]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def number(value: float) -> str:
    """A tick: 0, 5, 0.25, 1.2k, 3M."""
    size = abs(value)
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[suffix]
            return f"{digits(value / scale, 3)}{suffix}"
    return digits(value, 4)


def seconds(value: float) -> str:
    """A time tick: 0, 20 ms, 1.5 s."""
    if value == 0:
        return "0"
    if abs(value) >= 1:
        return f"{digits(value, 3)} s"
    return show_time(value)


def percent(value: float) -> str:
    """A share tick."""
    return f"{digits(100 * value, 3)} %"


@dataclass
class Canvas:
    """A picture under construction: plot area inside margins, marks in drawing order."""

    width: float
    height: float
    title: str
    left: float = 52
    right: float = 14
    top: float = 12
    bottom: float = 24
    parts: list[str] = field(default_factory=list)

    @property
    def plot(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the plot area; y grows downwards."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom

    @property
    def narrow(self) -> bool:
        return self.width < 500

    def x_scale(self, low: float, high: float, log: bool = False) -> Scale:
        return Scale(low, high, self.plot[0], self.plot[2], log)

    def y_scale(self, low: float, high: float, log: bool = False) -> Scale:
        return Scale(low, high, self.plot[3], self.plot[1], log)

    def add(self, markup: str) -> None:
        self.parts.append(markup)

    def text(self, x: float, y: float, text: str, cls: str = "tick", anchor: str = "middle") -> None:
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{cls}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}"/>')

    def rect(
        self, x: float, y: float, w: float, h: float, cls: str, *, hint: str = "", opacity: float = 1.0
    ) -> None:
        """A rectangle; `hint` is its tooltip."""
        faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        size = f'width="{max(0, w):.1f}" height="{max(0, h):.1f}"'
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" {size} class="{cls}"{faint}'
        self.add(f"{shape}>{inside}</rect>" if inside else f"{shape}/>")

    def dot(self, x: float, y: float, cls: str, *, radius: float = 3, hint: str = "") -> None:
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        self.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{cls}">{inside}</circle>')

    def path(
        self, points: Iterable[tuple[float, float]], cls: str, *, step: bool = False, hint: str = ""
    ) -> None:
        """A line through points; NaN breaks it; `step` holds each value until the next x."""
        out: list[str] = []
        pen = "M"
        previous: float | None = None
        for x, y in points:
            if math.isnan(y):
                pen, previous = "M", None
                continue
            if step and previous is not None:
                out.append(f"L{x:.1f} {previous:.1f}")
            out.append(f"{pen}{x:.1f} {y:.1f}")
            pen, previous = "L", y
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        if out:
            self.add(f'<path d="{"".join(out)}" class="{cls}">{inside}</path>')

    def band(self, xs: Sequence[float], lower: Sequence[float], upper: Sequence[float], cls: str) -> None:
        """The area between two lines; gaps (NaN) split it."""
        run: list[int] = []
        for index in range(len(xs) + 1):
            if index < len(xs) and not (math.isnan(lower[index]) or math.isnan(upper[index])):
                run.append(index)
                continue
            if len(run) > 1:
                there = [f"{xs[i]:.1f} {upper[i]:.1f}" for i in run]
                back = [f"{xs[i]:.1f} {lower[i]:.1f}" for i in reversed(run)]
                self.add(f'<path d="M{"L".join([*there, *back])}Z" class="{cls}"/>')
            run = []

    def x_axis(self, scale: Scale, show: Formatter) -> None:
        x0, y0, x1, y1 = self.plot
        free = -math.inf
        for tick in scale.ticks(5 if self.narrow else 9):
            place, half = scale(tick), 3.6 * len(show(tick))
            self.line(place, y0, place, y1, "grid")
            place = min(place, self.width - half - 1)
            if place - half > free:
                self.text(place, y1 + 14, show(tick))
                free = place + half + 6
        self.line(x0, y1, x1, y1, "axis")

    def y_axis(self, scale: Scale, show: Formatter, ticks: Sequence[float] | None = None) -> None:
        x0, _, x1, _ = self.plot
        for tick in ticks if ticks is not None else scale.ticks(5):
            self.line(x0, scale(tick), x1, scale(tick), "grid")
            self.text(x0 - 6, scale(tick) + 4, show(tick), "tick", "end")

    def events(self, scale: Scale, events: Sequence[tuple[float, str]]) -> None:
        """Marks of things done to the system: a dashed line each, numbered where names would collide."""
        _, y0, _, y1 = self.plot
        last = -math.inf
        for at, name in events:
            if not scale.low <= at <= scale.high:
                continue
            x = scale(at)
            self.add(f'<g class="event"><title>{escape(f"{at:.1f} s: {name}")}</title>')
            self.line(x, y0, x, y1, "event-line")
            room = len(name) * 6 + 12
            if x - last > 16:
                left = x + room > self.width
                shown = name if not self.narrow or len(name) <= 14 else name[:13] + "…"
                self.text(x - 4 if left else x + 4, y0 + 10, shown, "event-name", "end" if left else "start")
                last = x + (0 if left else room)
            self.add("</g>")

    def svg(self) -> str:
        """The finished picture."""
        box = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(self.title)}">'
        return head + "".join(self.parts) + "</svg>"


def legend(names: Sequence[tuple[str, str]]) -> str:
    """HTML above a picture: (css class of the swatch, name) pairs."""
    items = "".join(f'<span class="key"><i class="{cls}"></i>{escape(name)}</span>' for cls, name in names)
    return f'<div class="legend">{items}</div>'
