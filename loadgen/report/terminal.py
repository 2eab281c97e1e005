"""The report on a terminal: rich tables; without colours and boxes where it is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from kit.printable import cell
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
    screen.print()
    about = cell(f"  {run.requests} requests, seed {run.seed}  ")
    screen.print(Text.assemble(cell(run.name, "bold"), about, cell(run.target, "dim")))
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
    screen.print()
    screen.print(cell(sentences.verdict(report), f"bold {colour}"))
    print_pages(screen, written)


def print_pages(screen: Console, written: Sequence[Path]) -> None:
    """Where the pages for a browser are."""
    for path in written:
        if path.suffix == ".html":
            screen.print(Text.assemble(cell("report: ", "dim"), cell(str(path))), soft_wrap=True)


def print_table(screen: Console, table: Table) -> None:
    grid = RichTable(
        title=cell(table.title, "bold"),
        title_justify="left",
        caption=cell(table.note, "dim italic") if table.note else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD if any(table.columns) else None,
        show_header=any(table.columns),
        pad_edge=False,
    )
    prose = table.title in ("Routing", "Self-checks", "Expectations", "Throughput")
    for index, column in enumerate(table.columns):
        grid.add_column(cell(column), justify="left" if index == 0 or prose else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*(cell(text, _STYLES.get(text, "")) for text in row))
    screen.print()
    screen.print(grid)
