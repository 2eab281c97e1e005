"""The kinds of pictures in the report, each a function of data and a width that returns SVG.

Nothing here knows records or scrapes: callers bring numbers. Series colours are classes s0 ... s7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from loadgen.report.svg import Canvas, Formatter, Scale, number, percent, seconds

Events = Sequence[tuple[float, str]]
Squares = Iterator[tuple[float, float, float, float, float]]  # x, y, width, height, value; NaN is no answer
CDF_POINTS = 160
COLOURS = 8
MOST_HINTED = 1500
SHADES = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One series over time; NaN is a gap. `cls` is its CSS class."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    cls: str


def colour(index: int) -> str:
    return f"s{index % COLOURS}"


def cdf(width: int, title: str, samples: Sequence[tuple[str, Sequence[float], str]]) -> str:
    """Cumulative shares of (name, sorted seconds, class) on a logarithmic time axis."""
    canvas = Canvas(width, 230 if width < 500 else 270, title)
    low, high = _log_range([value for _, values, _ in samples for value in (values[0], values[-1])])
    x, y = canvas.x_scale(low, high, log=True), canvas.y_scale(0, 1)
    canvas.x_axis(x, seconds)
    canvas.y_axis(y, percent, (0, 0.25, 0.5, 0.75, 0.9, 1))
    for name, values, cls in samples:
        last = len(values) - 1
        ranks = sorted({round(i * last / CDF_POINTS) for i in range(CDF_POINTS + 1)} | _tail_ranks(last))
        points = [(x(max(low, values[rank])), y((rank + 1) / len(values))) for rank in ranks]
        canvas.path([(points[0][0], y(0)), *points], f"line {cls}", step=True, hint=name)
    return canvas.svg()


def _tail_ranks(last: int) -> set[int]:
    """The slowest requests are drawn one by one."""
    return set(range(max(0, last - 20), last + 1))


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    """Wide enough for all values, at least a factor of three, from 10 us up."""
    low = max(1e-5, min(values) * 0.9)
    high = max(values) * 1.1
    return low, max(high, 3 * low)


def lines(
    width: int,
    title: str,
    series: Sequence[Line],
    show: Formatter = number,
    *,
    events: Events = (),
    span: tuple[float, float] | None = None,
    top: float | None = None,
    step: bool = False,
    log: bool = False,
    height: int = 190,
) -> str:
    """Series over run time in seconds."""
    canvas = Canvas(width, height, title)
    x = canvas.x_scale(*(span or _extent([line.xs for line in series])))
    values = [v for line in series for v in line.ys if math.isfinite(v)] or [0.0]
    if log:
        low, high = _log_range([min(v for v in values if v > 0), max(values)])
        y = canvas.y_scale(low, high, log=True)
    else:
        y = canvas.y_scale(0, (top if top is not None else max(values) * 1.08) or 1)
    canvas.x_axis(x, _seconds_plain)
    canvas.y_axis(y, show)
    for line in series:
        points = [(x(a), math.nan if math.isnan(b) else y(b)) for a, b in zip(line.xs, line.ys, strict=True)]
        canvas.path(points, f"line {line.cls}", step=step, hint=line.name)
    canvas.events(x, events)
    return canvas.svg()


def _seconds_plain(value: float) -> str:
    return f"{value:g} s"


def _extent(columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [v for column in columns for v in column if math.isfinite(v)] or [0.0, 1.0]
    low = min(values)
    return low, max(*values, low + 1e-3)


def bands(
    width: int,
    title: str,
    xs: Sequence[float],
    quantiles: Mapping[str, Sequence[float]],
    *,
    events: Events,
    cls: str,
) -> str:
    """Latency percentiles over time: p50 as a line, bands up to p90 and p99; logarithmic."""
    canvas = Canvas(width, 230 if width < 500 else 260, title)
    values = [v for column in quantiles.values() for v in column if math.isfinite(v) and v > 0] or [1e-3, 1.0]
    low, high = _log_range([min(values), max(values)])
    x, y = canvas.x_scale(*_extent([xs])), canvas.y_scale(low, high, log=True)
    canvas.x_axis(x, _seconds_plain)
    canvas.y_axis(y, seconds)
    places = [x(value) for value in xs]
    rows = {name: [math.nan if math.isnan(v) else y(v) for v in column] for name, column in quantiles.items()}
    canvas.band(places, rows["p90"], rows["p99"], f"band faint {cls}")
    canvas.band(places, rows["p50"], rows["p90"], f"band {cls}")
    for name in ("p99", "p90", "p50"):
        style = "" if name == "p50" else " thin"
        canvas.path(zip(places, rows[name], strict=True), f"line {cls}{style}", hint=name)
    canvas.events(x, events)
    return canvas.svg()


def stack(width: int, title: str, edges: Sequence[float], layers: Sequence[Line], events: Events = ()) -> str:
    """Stacked bars over time bins; `edges` has one entry more than each layer."""
    canvas = Canvas(width, 190, title)
    totals = [sum(layer.ys[i] for layer in layers) for i in range(len(edges) - 1)]
    x, y = canvas.x_scale(edges[0], edges[-1]), canvas.y_scale(0, max(totals, default=1) * 1.08 or 1)
    canvas.x_axis(x, _seconds_plain)
    canvas.y_axis(y, number)
    gap = 1.0 if (x(edges[1]) - x(edges[0])) > 4 else 0.0
    for i in range(len(edges) - 1):
        base = 0.0
        for layer in layers:
            value = layer.ys[i]
            if value:
                height = y(base) - y(base + value)
                hint = f"{edges[i]:.1f} s: {layer.name} {value:g}"
                canvas.rect(
                    x(edges[i]),
                    y(base + value),
                    x(edges[i + 1]) - x(edges[i]) - gap,
                    height,
                    layer.cls,
                    hint=hint,
                )
                base += value
    canvas.events(x, events)
    return canvas.svg()


def heat(
    width: int,
    title: str,
    rows: Sequence[str],
    edges: Sequence[float],
    values: Sequence[Sequence[float]],
    *,
    show: Formatter = number,
    events: Events = (),
    top: float | None = None,
) -> str:
    """Rows by time bins as shades; a hundred rows still fit because names are thinned out."""
    cell = 20.0 if len(rows) <= 12 else 12.0 if len(rows) <= 40 else 5.0
    left = min(width * 0.3, 14 + 6.2 * max((len(row) for row in rows), default=0))
    canvas = Canvas(width, 38 + cell * len(rows), title, left=left)
    x = canvas.x_scale(edges[0], edges[-1])
    canvas.x_axis(x, _seconds_plain)
    highest = top or max((v for row in values for v in row if math.isfinite(v)), default=1) or 1
    every = math.ceil(11 / cell)
    for r, row in enumerate(rows):
        if r % every == 0:
            canvas.text(left - 6, canvas.top + (r + 0.5) * cell + 4, shorten(row, left), "tick", "end")
    if len(rows) * (len(edges) - 1) > MOST_HINTED:
        _shaded(canvas, _squares(x, canvas.top, edges, values, cell), highest)
    else:
        _cells(canvas, x, edges, rows, values, cell=cell, highest=highest, show=show)
    canvas.events(x, events)
    return canvas.svg()


def _cells(
    canvas: Canvas,
    x: Scale,
    edges: Sequence[float],
    rows: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    cell: float,
    highest: float,
    show: Formatter,
) -> None:
    """One rectangle with its tooltip for each value."""
    for r, (row, cells) in enumerate(zip(rows, values, strict=True)):
        y = canvas.top + r * cell
        for i, value in enumerate(cells):
            wide = x(edges[i + 1]) - x(edges[i])
            if math.isnan(value):
                canvas.rect(x(edges[i]), y, wide, cell - 1, "absent", hint=f"{row}: no answer")
            elif value:
                hint = f"{row}, {edges[i]:.1f} s: {show(value)}"
                opacity = 0.06 + 0.94 * min(1.0, value / highest)
                canvas.rect(x(edges[i]), y, wide + 0.3, cell - 1, "heat", hint=hint, opacity=opacity)


def _squares(
    x: Scale, top: float, edges: Sequence[float], values: Sequence[Sequence[float]], cell: float
) -> Squares:
    """Place and value of every cell of a heat map."""
    for r, cells in enumerate(values):
        for i, value in enumerate(cells):
            yield x(edges[i]), top + r * cell, x(edges[i + 1]) - x(edges[i]) + 0.3, cell - 0.5, value


def _shaded(canvas: Canvas, squares: Squares, highest: float) -> None:
    """All cells of one shade as one path, without tooltips: a large fleet stays a small file."""
    shades: dict[int, list[str]] = {}
    for x, y, width, height, value in squares:
        shade = -1 if math.isnan(value) else math.ceil(min(1.0, value / highest) * SHADES)
        if shade:
            shades.setdefault(shade, []).append(f"M{x:.1f} {y:g}h{width:.1f}v{height:g}h-{width:.1f}z")
    for shade in sorted(shades):
        opacity = 0.06 + 0.94 * shade / SHADES
        look = 'class="absent"' if shade < 0 else f'class="heat" fill-opacity="{opacity:.2f}"'
        canvas.add(f'<path d="{"".join(shades[shade])}" {look}/>')


def shorten(name: str, room: float) -> str:
    """The end of a pod's name is what tells it from the others."""
    most = max(4, int((room - 8) / 6.2))
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def matrix(
    width: int, title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
) -> str:
    """Counts of rows by columns, shaded by their share of the row and printed where they fit."""
    left = min(width * 0.32, 16 + 6.4 * max(map(len, rows), default=0))
    cell = max(3.0, min(64.0, (width - left - 8) / max(1, len(columns))))
    height = 24.0 if len(rows) <= 24 else 10.0
    slanted = cell < 6.2 * max(map(len, columns), default=0) + 6
    head = 16.0 if not slanted else min(90.0, 14 + 4.6 * max(map(len, columns), default=0))
    canvas = Canvas(width, head + 10 + height * len(rows), title, left=left, top=head, bottom=4)
    for c, column in enumerate(columns):
        x = left + (c + 0.5) * cell
        if not slanted:
            canvas.text(x, head - 5, column)
        elif cell >= 9 or c % math.ceil(9 / cell) == 0:
            turn = f'transform="rotate(-50 {x:.1f} {head - 5:.1f})"'
            canvas.add(f'<text x="{x:.1f}" y="{head - 5:.1f}" class="tick" {turn}>{escape(column)}</text>')
    for r, row in enumerate(rows):
        if height > 12 or r % 2 == 0:
            canvas.text(left - 6, head + (r + 0.5) * height + 4, shorten(row, left), "tick", "end")
    if len(rows) * len(columns) > MOST_HINTED / 3:
        parts = [[value / (sum(cells) or 1) for value in cells] for cells in values]
        across = Scale(0, len(columns), left, left + cell * len(columns))
        _shaded(canvas, _squares(across, head, range(len(columns) + 1), parts, height), 1.0)
        return canvas.svg()
    for r, (row, cells) in enumerate(zip(rows, values, strict=True)):
        _matrix_row(canvas, row, columns, cells, y=head + r * height, cell=cell, height=height)
    return canvas.svg()


def _matrix_row(
    canvas: Canvas,
    row: str,
    columns: Sequence[str],
    cells: Sequence[float],
    *,
    y: float,
    cell: float,
    height: float,
) -> None:
    """One rectangle with its tooltip for each count, and the count where it fits."""
    total = sum(cells) or 1
    for c, value in enumerate(cells):
        hint = f"{row} on {columns[c]}: {value:g} ({percent(value / total)})"
        x = canvas.left + c * cell
        opacity = 0.05 + 0.9 * value / total if value else 0.03
        canvas.rect(x + 0.5, y + 0.5, cell - 1, height - 1, "heat", hint=hint, opacity=opacity)
        if value and cell > 24 and height > 12:
            tone = "cell on" if value > total / 2 else "cell"
            canvas.text(x + cell / 2, y + height / 2 + 4, number(value), tone)


def bars(
    width: int,
    title: str,
    rows: Sequence[tuple[str, float, str]],
    *,
    show: Formatter = percent,
    mark: float | None = None,
    top: float | None = None,
) -> str:
    """Horizontal bars (name, value, class); `mark` is a reference drawn through all of them."""
    cell = 22.0 if len(rows) <= 20 else 9.0
    left = min(width * 0.36, 16 + 6.4 * max((len(name) for name, _, _ in rows), default=0))
    canvas = Canvas(width, 12 + cell * len(rows), title, left=left, right=58, top=6, bottom=6)
    scale = Scale(
        0, top or max([value for _, value, _ in rows] + [mark or 0]) or 1, left, width - canvas.right
    )
    for r, (name, value, cls) in enumerate(rows):
        y = canvas.top + r * cell
        if cell > 12 or r % 2 == 0:
            canvas.text(left - 6, y + cell / 2 + 4, shorten(name, left), "tick", "end")
        canvas.rect(left, y + 2, scale(value) - left, cell - 4, f"bar {cls}", hint=f"{name}: {show(value)}")
        if cell > 12:
            canvas.text(scale(value) + 5, y + cell / 2 + 4, show(value), "value", "start")
    if mark is not None:
        canvas.line(scale(mark), canvas.top, scale(mark), canvas.height - canvas.bottom, "mark")
    canvas.line(left, canvas.top, left, canvas.height - canvas.bottom, "axis")
    return canvas.svg()


def columns(
    width: int, title: str, values: Sequence[float], show: Formatter, *, mark: float, cls: str
) -> str:
    """Values from the largest to the smallest as thin columns, for fleets too large to name."""
    canvas = Canvas(width, 190, title)
    ranked = sorted(values, reverse=True)
    x, y = canvas.x_scale(0, len(ranked)), canvas.y_scale(0, max(ranked[0], mark) * 1.08 or 1)
    canvas.y_axis(y, show)
    canvas.x_axis(x, number)
    for i, value in enumerate(ranked):
        canvas.rect(x(i), y(value), x(i + 1) - x(i) - 0.5, y(0) - y(value), f"bar {cls}")
    canvas.line(canvas.left, y(mark), width - canvas.right, y(mark), "mark")
    return canvas.svg()
