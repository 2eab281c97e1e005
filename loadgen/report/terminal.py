"""The report on a terminal: rich tables; without colours and boxes where it is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from loadgen.judge.report import Report
from loadgen.report import sentences, tables
from loadgen.report.tables import Table

_STYLES = {
    "ok": "green",
    "passed": "green",
    "warn": "yellow",
    "fail": "red",
    "failed": "red",
    "error": "red",
}
_PLAIN_WIDTH = 160


def console() -> Console:
    """Standard output; wide enough that a log keeps its tables when it is a file or a pipe."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=max(_PLAIN_WIDTH, out.width))


def print_report(report: Report, written: Sequence[Path], out: Console | None = None) -> None:
    """Everything a person wants at the end of a run."""
    screen = out or console()
    run = report.run
    title = f"[bold]{escape(run.name)}[/]  {run.requests} requests, seed {run.seed}"
    screen.print(f"\n{title}  [dim]{escape(run.target)}[/]")
    for table in tables.all_tables(report):
        print_table(screen, table)
    lines = sentences.scorecard(report)
    if lines:
        print_table(screen, Table("Routing", ("", ""), tuple(lines)))
    print_table(screen, tables.selfchecks(report))
    expected = tables.expectations(report.expectations)
    if expected:
        print_table(screen, expected)
    colour = {0: "green", 1: "red", 2: "yellow"}[report.exit_code]
    screen.print(f"\n[bold {colour}]{escape(sentences.verdict(report))}[/]")
    for path in written:
        if path.suffix == ".html":
            screen.print(f"[dim]report:[/] {escape(str(path))}", soft_wrap=True)


def print_table(screen: Console, table: Table) -> None:
    grid = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        caption=table.note or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD if any(table.columns) else None,
        show_header=any(table.columns),
        pad_edge=False,
    )
    prose = table.title in ("Routing", "Self-checks", "Expectations", "Throughput")
    for index, column in enumerate(table.columns):
        grid.add_column(column, justify="left" if index == 0 or prose else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*(f"[{_STYLES[cell]}]{cell}[/]" if cell in _STYLES else escape(cell) for cell in row))
    screen.print()
    screen.print(grid)
