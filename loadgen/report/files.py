"""Every form of a report on disk."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from loadgen.errors import RunError
from loadgen.judge.report import as_json
from loadgen.report import benchmark_report
from loadgen.report.html import html
from loadgen.report.junit import junit
from loadgen.report.markdown import markdown

Form = tuple[str, Callable[[Mapping[str, Any]], str]]
FORMS: Final[tuple[Form, ...]] = (
    ("report.json", as_json),
    ("report.md", markdown),
    ("report.yaml", benchmark_report.dump),
    ("report.html", html),
    ("junit.xml", junit),
)


def write_all(run_dir: Path, report: Mapping[str, Any], forms: Sequence[Form] = FORMS) -> list[Path]:
    """report.json, .md, .yaml (Benchmark Report), .html and junit.xml; RunError when it cannot write.

    A form that cannot be made is told on standard error and left out: it costs neither the others nor the
    verdict. What stood there of an earlier report goes, for it would not be this one's.
    """
    written = []
    for name, make in forms:
        try:
            text = make(report)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others are still good
            print(f"loadgen: {name} could not be made: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            (run_dir / name).unlink(missing_ok=True)
            continue
        written.append(write(run_dir / name, text))
    return written


def write(path: Path, text: str) -> Path:
    """Write a file whole."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    return path
