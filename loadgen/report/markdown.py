"""The report as Markdown, for a pull request or a wiki page."""

from __future__ import annotations

from datetime import UTC, datetime

from loadgen.judge.report import Report
from loadgen.report import sentences, tables
from loadgen.report.tables import Table


def markdown(report: Report) -> str:
    """The whole document."""
    run = report.run
    started = datetime.fromtimestamp(run.t0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [
        f"# {run.name}",
        f"**{sentences.verdict(report)}**",
        f"{run.requests} requests to {run.target} from {started}, seed {run.seed}.",
        *map(table, tables.all_tables(report)),
    ]
    lines = sentences.scorecard(report)
    if lines:
        parts.append("## Routing\n\n" + "\n".join(f"- **{name}**: {words}" for name, words in lines))
    full = (tables.percentiles(report), tables.figures(report))
    ends = (tables.selfchecks(report), tables.expectations(report.expectations), *full)
    parts += [table(item) for item in ends if item is not None]
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """One table with its heading and note."""
    heads = [head or " " for head in content.columns]
    lines = [
        f"## {content.title}",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if i == 0 else "---:" for i in range(len(heads))) + "|",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in content.rows),
    ]
    if content.note:
        lines += ["", f"_{content.note}_"]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split()) or " "
