"""Every form of a report on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kit.console import complain
from kit.printable import on_terminal
from loadgen.errors import RunError
from loadgen.judge.report import Report
from loadgen.numbers.figure import as_json
from loadgen.report import benchmark_report
from loadgen.report.html import html
from loadgen.report.junit import junit
from loadgen.report.markdown import markdown

T = TypeVar("T")
Form = tuple[str, Callable[[T], str]]  # the name of a file and what makes its text
FORMS: tuple[Form[Report], ...] = (
    ("report.json", as_json),
    ("report.md", markdown),
    ("report.yaml", benchmark_report.dump),
    ("report.html", html),
    ("junit.xml", junit),
)

# Forms that say by themselves what a control character is; in all others it is shown by its escape.
DATA = (".json", ".yaml")


def write_all(run_dir: Path, report: T, forms: Sequence[Form[T]]) -> list[Path]:
    """Every form of a report (or of what else `forms` are made from); RunError when it cannot write.

    A form that cannot be made is told on standard error and left out: it costs neither the others nor the
    verdict. What stood there of an earlier report goes, for it would not be this one's.
    """
    written = []
    for name, make in forms:
        try:
            text = make(report)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others are still good
            complain(f"loadgen: {name} could not be made: {type(error).__name__}: {error}")
            (run_dir / name).unlink(missing_ok=True)
            continue
        if not name.endswith(DATA):
            text = on_terminal(text)
        written.append(write(run_dir / name, text))
    return written


def write(path: Path, text: str) -> Path:
    """Write a file whole; RunError when that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    return path
