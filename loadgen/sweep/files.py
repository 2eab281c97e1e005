"""The forms of a sweep: sweep.json, a page with the curves, a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from rich.console import Console

from kit.printable import cell
from loadgen.numbers.quantity import show_time
from loadgen.report.files import write_all
from loadgen.report.html import header, in_pairs, page, section, table
from loadgen.report.pictures import Picture
from loadgen.report.svg import number, percent, seconds
from loadgen.report.tables import Table
from loadgen.report.terminal import console, print_pages, print_table
from loadgen.sweep.curve import Series, curve
from loadgen.sweep.data import Point, SweepReport


def write_sweep(out: Path, report: SweepReport) -> list[Path]:
    """Write every form; RunError when it cannot."""
    return write_all(out, report, (("sweep.json", sweep_json), ("sweep.html", sweep_html)))


def sweep_json(report: SweepReport) -> str:
    """The report as JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def points_table(report: SweepReport) -> Table:
    """One row a rate."""
    with_goodput = any(point.good is not None for point in report.points)
    head = ("asked /s", "started /s", "served /s", "ok", *(("in limits",) if with_goodput else ()))
    rows = [
        (
            f"{p.asked:.4g}",
            f"{p.started:.4g}",
            f"{p.served:.4g}",
            percent(p.ok),
            *((percent(p.good) if p.good is not None else "-",) if with_goodput else ()),
            *(_time(value) for value in (p.ttft_p50, p.ttft_p99, p.tpot_p50, p.e2e_p99)),
            "; ".join(filter(None, ("" if p.trusted else "not to be trusted", p.lag))),
        )
        for p in report.points
    ]
    return Table("Rates", (*head, "TTFT p50", "TTFT p99", "TPOT p50", "E2E p99", ""), tuple(rows))


def _time(value: float | None) -> str:
    return "-" if value is None else show_time(value)


def print_sweep(report: SweepReport, written: Sequence[Path], out: Console | None = None) -> None:
    """The table and the sentence."""
    screen = out or console()
    screen.print()
    print_table(screen, points_table(report))
    screen.print()
    found = report.limit is not None or report.aim == "rates"
    screen.print(cell(f"{report.name}: {report.sentence}", "bold green" if found else "bold yellow"))
    print_pages(screen, written)


def sweep_html(report: SweepReport) -> str:
    """The whole document."""
    tone = "good" if report.limit is not None else "none"
    limits = ", ".join(f"{name} within {show_time(limit)}" for name, limit in report.slo.items())
    subtitle = f"{len(report.points)} rates" + (f"; {escape(limits)}" if limits else "")
    pictures = [
        Picture("Served", lambda width: _served(report, width), "requests/s answered against those started"),
        *_goods(report),
        Picture("TTFT", lambda width: _times(report, width, "ttft"), "against requests/s started"),
        Picture("E2E", lambda width: _times(report, width, "e2e"), "against requests/s started"),
    ]
    return page(
        report.name,
        [
            header(report.name, subtitle, [(report.sentence, tone)]),
            section("Curves", in_pairs(pictures)),
            section("Rates", table(points_table(report), bare=True)),
        ],
    )


def _goods(report: SweepReport) -> list[Picture]:
    if not any(point.good is not None for point in report.points):
        return []
    return [
        Picture(
            "Within the limits", lambda width: _good(report, width), "share of the requests that were due"
        )
    ]


def _series(points: Sequence[Point], name: str, cls: str) -> Series:
    pairs = [(p.started, value) for p in points if (value := getattr(p, name)) is not None]
    return Series(name.partition("_")[2] or name, tuple(pairs), cls)


def _served(report: SweepReport, width: int) -> str:
    top = max((point.started for point in report.points), default=1.0)
    ideal = Series("all of them", ((0.0, 0.0), (top, top)), "s7")
    made = Series("served", tuple((p.started, p.served) for p in report.points), "s0")
    return curve(width, "Requests served against started", [ideal, made], number, mark=report.limit)


def _good(report: SweepReport, width: int) -> str:
    made = _series(report.points, "good", "s0")
    return curve(width, "Share within the limits", [made], percent, mark=report.limit, top=1.0)


def _times(report: SweepReport, width: int, name: str) -> str:
    both = [_series(report.points, f"{name}_p50", "s0"), _series(report.points, f"{name}_p99", "s1")]
    return curve(width, f"{name.upper()} against the rate", both, seconds, mark=report.limit, log=True)
