"""The report as Markdown, for a pull request or a wiki page.

Names, addresses and what servers said of themselves are texts of others: `plain` takes from them all that
Markdown would act on, so that a pod's name is no link, no picture and no markup.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from loadgen.judge.report import Report
from loadgen.report import sentences, tables
from loadgen.report.tables import Table

# What acts in a line: `_` not in a word, brackets only as a link; code and addresses show themselves.
_ACTS = re.compile(r"[\\*|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[])|&(?=#?\w+;)|<")
_ENTITIES = {"&": "&amp;", "<": "&lt;"}


def plain(text: str) -> str:
    """`text` as Markdown that shows just that, on one line."""
    return _ACTS.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), " ".join(text.split()))


def markdown(report: Report) -> str:
    """The whole document."""
    run = report.run
    started = datetime.fromtimestamp(run.t0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [
        f"# {plain(run.name)}",
        f"**{plain(sentences.verdict(report))}**",
        f"{run.requests} requests to {plain(run.target)} from {started}, seed {run.seed}.",
        *map(table, tables.all_tables(report)),
    ]
    lines = sentences.scorecard(report)
    if lines:
        parts.append(
            "## Routing\n\n" + "\n".join(f"- **{plain(name)}**: {plain(words)}" for name, words in lines)
        )
    full = (tables.percentiles(report), tables.figures(report))
    ends = (tables.selfchecks(report), tables.expectations(report.expectations), *full)
    parts += [table(item) for item in ends if item is not None]
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """One table with its heading and note."""
    heads = [plain(head) or " " for head in content.columns]
    lines = [
        f"## {plain(content.title)}",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if i == 0 else "---:" for i in range(len(heads))) + "|",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in content.rows),
    ]
    if content.note:
        lines += ["", f"_{plain(content.note)}_"]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return plain(text) or " "
