"""Every form of a report on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen.errors import RunError
from loadgen.judge.report import as_json
from loadgen.report import benchmark_report
from loadgen.report.html import html
from loadgen.report.junit import junit
from loadgen.report.markdown import markdown


def write_all(run_dir: Path, report: Mapping[str, Any]) -> list[Path]:
    """report.json, .md, .yaml (Benchmark Report), .html and junit.xml; RunError when it cannot write."""
    texts = {
        "report.json": as_json(report),
        "report.md": markdown(report),
        "report.yaml": benchmark_report.dump(report),
        "report.html": html(report),
        "junit.xml": junit(report),
    }
    return [write(run_dir / name, text) for name, text in texts.items()]


def write(path: Path, text: str) -> Path:
    """Write a file whole."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    return path
