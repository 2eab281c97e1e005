"""A comparison on terminal and on disk: comparison.json, .md, .html and junit.xml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from loadgen.compare.html import comparison_html
from loadgen.compare.tables import differences, routing
from loadgen.judge.report import as_json, clean
from loadgen.records.rundir import fresh_directory
from loadgen.report.files import Form, write_all
from loadgen.report.junit import junit
from loadgen.report.markdown import table as markdown_table
from loadgen.report.tables import expectations
from loadgen.report.terminal import console, print_table

COMPARISON_FILES: Final = ("comparison.*", "junit.xml")
Data = Mapping[str, Any]
_COLOURS: Final = {
    "beats": "green",
    "loses to": "red",
    "trades with": "yellow",
    "is not told apart from": "cyan",
}


def write_comparison(out: Path, data: Data) -> list[Path]:
    """All files of a comparison; RunError when they cannot be written, or would overwrite others."""
    fresh_directory(out, COMPARISON_FILES)
    finite = clean(data)
    forms: list[Form] = [
        ("comparison.json", as_json),
        ("comparison.md", comparison_markdown),
        ("comparison.html", comparison_html),
        ("junit.xml", lambda data: junit(_as_suite(data))),
    ]
    return write_all(out, finite, forms)


def _as_suite(data: Data) -> dict[str, Any]:
    """The shape that the JUnit writer reads: whether each run was trusted stands for the self-checks."""
    checks = [
        {
            "name": f"{run['arm']}, repeat {run['repeat']}",
            "status": "ok" if run["trusted"] else "fail",
            "words": "; ".join(run["failed_checks"]) or "to be trusted",
        }
        for run in data["runs"]
    ]
    return {"run": {"name": data["name"]}, "expectations": data["expectations"], "selfchecks": checks}


def comparison_markdown(data: Data) -> str:
    """The whole document."""
    parts = [f"# {data['name']}", *(f"**{words}**" for words in data["sentences"]), *_notes(data)]
    parts += [markdown_table(differences(data, arm)) for arm in data["differences"]]
    parts.append(markdown_table(routing(data)))
    expected = expectations(data)
    if expected:
        parts.append(markdown_table(expected))
    return "\n\n".join(parts) + "\n"


def _notes(data: Data) -> list[str]:
    broken = [
        f"{r['arm']}, repeat {r['repeat']}, is not to be trusted" for r in data["runs"] if not r["trusted"]
    ]
    return [*data.get("notes", []), *broken]


def print_comparison(data: Data, written: Sequence[Path], out: Console | None = None) -> None:
    """Tables, then the sentences: what is read last is what matters."""
    screen = out or console()
    for arm in data["differences"]:
        print_table(screen, differences(data, arm))
    print_table(screen, routing(data))
    expected = expectations(data)
    if expected:
        print_table(screen, expected)
    screen.print()
    for note in _notes(data):
        screen.print(f"[yellow]{escape(note)}[/]")
    for arm, words in zip(data["differences"], data["sentences"], strict=True):
        screen.print(f"[bold {_COLOURS[data['verdicts'][arm]]}]{escape(words)}[/]")
    for path in written:
        if path.suffix == ".html":
            screen.print(f"[dim]report:[/] {escape(str(path))}", soft_wrap=True)
