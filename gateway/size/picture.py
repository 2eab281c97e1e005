"""The knee as a picture: limits and goodput over the number of replicas, one inline SVG for each kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from gateway.simulate.summary import Slo, shown
from gateway.size.search import Found
from gateway.size.table import rows

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 260, 64, 34
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
body{color:#1b1f24;background:#fff}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right}tr.answer{font-weight:600}
svg{max-width:100%}svg text{font:11px system-ui,sans-serif;fill:currentColor}
.line{fill:none;stroke:#2563eb;stroke-width:2}.good{fill:none;stroke:#15803d;stroke-width:2}
.limit{stroke:#b91c1c;stroke-dasharray:5 4}.axis{stroke:#8888}.answer-mark{stroke:#15803d;stroke-width:1.5}
@media (prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}}
"""


def page(found: Sequence[Found], slo: Sequence[Slo], title: str) -> str:
    """A whole HTML page."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for each in found:
        parts.append(f"<h2>{escape(each.kind.name)}</h2>")
        parts.append(f"<p>{escape(_words(each, slo))}</p>")
        parts += [curve(each, limit) for limit in slo]
        parts.append(goodput(each))
        parts.append(_table(each))
    body = "\n".join(parts)
    head = (
        f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    )
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _words(found: Found, slo: Sequence[Slo]) -> str:
    limits = " and ".join(f"{each.name} at most {shown(each.limit)}" for each in slo)
    if found.answer is None:
        return f"{limits}: no number that was tried holds."
    return f"{limits}: {found.answer} replicas hold."


def curve(found: Found, slo: Slo) -> str:
    """The percentile over the number of replicas, on a logarithmic scale, with its limit."""
    points = [(count, figures["slo"][slo.name]["value"]) for count, figures in sorted(found.tried.items())]
    drawn = [(count, value) for count, value in points if value]
    if not drawn:
        return ""
    low = min(slo.limit, *(value for _, value in drawn)) * 0.8
    high = max(slo.limit, *(value for _, value in drawn)) * 1.25

    def y(value: float) -> float:
        return math.log(value / low) / math.log(high / low)

    marks = [(y(value), shown(value)) for value in (low * 1.02, slo.limit, high / 1.02)]
    return _plot(
        found,
        f"{slo.name} by replicas",
        [(n, y(v)) for n, v in drawn],
        marks,
        kind="line",
        limit=y(slo.limit),
    )


def goodput(found: Found) -> str:
    """The share of requests within every limit over the number of replicas."""
    points = [(count, float(figures["goodput"])) for count, figures in sorted(found.tried.items())]
    marks = [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")]
    return _plot(found, "goodput by replicas", points, marks, kind="good", limit=None)


def _plot(
    found: Found,
    title: str,
    points: Sequence[tuple[int, float]],
    marks: Sequence[tuple[float, str]],
    *,
    kind: str,
    limit: float | None,
) -> str:
    """Points as (replicas, height from 0 to 1) joined by a line."""
    counts = [count for count, _ in points]
    first, last = min(counts), max(counts)

    def at(count: float, height: float) -> tuple[float, float]:
        share = (count - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - 20), 24 + (1 - height) * (_HEIGHT - _BOTTOM - 30)

    floor = at(first, 0.0)[1]
    out = [f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img><title>{escape(title)}</title>"]
    out.append(f"<text x={_LEFT} y=14>{escape(title)}</text>")
    out.append(f"<line class=axis x1={_LEFT} x2={_WIDTH - 20} y1={floor:.1f} y2={floor:.1f} />")
    for height, words in marks:
        out.append(
            f"<text x={_LEFT - 6} y={at(first, height)[1] + 4:.1f} text-anchor=end>{escape(words)}</text>"
        )
    if limit is not None:
        y = at(first, limit)[1]
        out.append(f"<line class=limit x1={_LEFT} x2={_WIDTH - 20} y1={y:.1f} y2={y:.1f} />")
    if found.answer is not None:
        x = at(found.answer, 0)[0]
        out.append(f"<line class=answer-mark x1={x:.1f} x2={x:.1f} y1=20 y2={floor:.1f} />")
    places = [at(*point) for point in points]
    out.append(f"<polyline class={kind} points='" + " ".join(f"{x:.1f},{y:.1f}" for x, y in places) + "' />")
    for count, (x, y) in zip(counts, places, strict=True):
        out.append(f"<circle cx={x:.1f} cy={y:.1f} r=3 fill=currentColor />")
        out.append(f"<text x={x:.1f} y={_HEIGHT - 12} text-anchor=middle>{count}</text>")
    return "".join(out) + "</svg>"


def _table(found: Found) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("replicas", "holds", "goodput", "TTFT p95", "TPOT p95", "KV max")
    )
    lines = [f"<tr>{head}</tr>"]
    for each in rows(found):
        latency: dict[str, Any] = each["latency_s"]
        cells = [
            str(each["replicas"]),
            "yes" if each["holds"] else "no",
            f"{100 * each['goodput']:.1f} %",
            *("-" if latency[m] is None else shown(latency[m]["p95"]) for m in ("ttft", "tpot")),
            f"{100 * each['load']['kv_max']:.0f} %",
        ]
        mark = " class=answer" if each["replicas"] == found.answer else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"
