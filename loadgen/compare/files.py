"""A comparison on terminal and on disk: comparison.json, .md, .html and junit.xml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kit.printable import cell
from loadgen.compare.data import ArmsReport
from loadgen.compare.html import comparison_html
from loadgen.compare.tables import differences, routing
from loadgen.judge.paired import Verdict
from loadgen.judge.selfchecks import Check
from loadgen.numbers.figure import as_json
from loadgen.records.rundir import fresh_directory
from loadgen.report.files import Form, write_all
from loadgen.report.junit import suites
from loadgen.report.markdown import plain
from loadgen.report.markdown import table as markdown_table
from loadgen.report.tables import expectations
from loadgen.report.terminal import console, print_pages, print_table

COMPARISON_FILES = ("comparison.*", "junit.xml")
_COLOURS: dict[Verdict, str] = {
    "beats": "green",
    "loses to": "red",
    "trades with": "yellow",
    "is not told apart from": "cyan",
    "is not judged against": "yellow",
}


def write_comparison(out: Path, data: ArmsReport) -> list[Path]:
    """All files of a comparison; RunError when they cannot be written, or would overwrite others."""
    fresh_directory(out, COMPARISON_FILES)
    forms: list[Form[ArmsReport]] = [
        ("comparison.json", as_json),
        ("comparison.md", comparison_markdown),
        ("comparison.html", comparison_html),
        ("junit.xml", _junit),
    ]
    return write_all(out, data, forms)


def _junit(data: ArmsReport) -> str:
    """Whether each run was trusted stands for the self-checks."""
    checks = [
        Check(
            f"{run.arm}, repeat {run.repeat}",
            "ok" if run.trusted else "fail",
            "; ".join(run.failed_checks) or "to be trusted",
        )
        for run in data.runs
    ]
    checks += [
        Check(f"{arm} against {data.baseline}", "ok", words)
        for arm, words in zip(data.differences, data.sentences, strict=True)
    ]
    checks += [Check(f"note {number}", "ok", words) for number, words in enumerate(data.notes, start=1)]
    return suites(data.name, data.expectations, checks)


def comparison_markdown(data: ArmsReport) -> str:
    """The whole document."""
    sentences = (f"**{plain(words)}**" for words in data.sentences)
    parts = [f"# {plain(data.name)}", *sentences, *map(plain, _notes(data))]
    parts += [markdown_table(differences(data, arm)) for arm in data.differences]
    parts.append(markdown_table(routing(data)))
    expected = expectations(data.expectations)
    if expected:
        parts.append(markdown_table(expected))
    return "\n\n".join(parts) + "\n"


def _notes(data: ArmsReport) -> list[str]:
    broken = [f"{run.arm}, repeat {run.repeat}, is not to be trusted" for run in data.runs if not run.trusted]
    return [*data.notes, *broken]


def print_comparison(data: ArmsReport, written: Sequence[Path], out: Console | None = None) -> None:
    """Tables, then the sentences: what is read last is what matters."""
    screen = out or console()
    for arm in data.differences:
        print_table(screen, differences(data, arm))
    print_table(screen, routing(data))
    expected = expectations(data.expectations)
    if expected:
        print_table(screen, expected)
    screen.print()
    for note in _notes(data):
        screen.print(cell(note, "yellow"))
    for arm, words in zip(data.differences, data.sentences, strict=True):
        screen.print(cell(words, f"bold {_COLOURS[data.verdicts[arm]]}"))
    print_pages(screen, written)
