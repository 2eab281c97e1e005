"""Findings as people and machines read them: text, JSON, SARIF 2.1.0, GitHub annotations."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from gateway.lint.finding import RULES, Finding, Severity
from kit.printable import one_line

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def as_text(findings: list[Finding]) -> str:
    """A paragraph each: place, severity and rule, then what happens and the mend; a count at the end."""
    parts = []
    for f in findings:
        head = f"{one_line(f.file)}:{f.line}: {f.rule.severity} [{f.rule.id}]"
        body = [f.message, f"what happens: {f.consequence}", f"mend: {f.mend}"]
        lines = [_fill(b) for b in body]
        parts.append("\n".join([head, *lines]))
    counts = {s: sum(f.rule.severity is s for f in findings) for s in Severity}
    total = ", ".join(f"{n} {s}{'' if n == 1 or s is Severity.INFO else 's'}" for s, n in counts.items() if n)
    return "\n\n".join([*parts, total or "nothing found"]) + "\n"


def _fill(text: str) -> str:
    indent = {"initial_indent": "    ", "subsequent_indent": "      "}
    return textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False, **indent)  # type: ignore[arg-type]


def as_json(findings: list[Finding]) -> str:
    return json.dumps([_plain(f) for f in findings], indent=2) + "\n"


def _plain(f: Finding) -> dict[str, Any]:
    return {
        "rule": f.rule.id,
        "severity": str(f.rule.severity),
        "defect": f.rule.defect or None,
        "file": f.file,
        "line": f.line,
        "message": f.message,
        "consequence": f.consequence,
        "mend": f.mend,
    }


def as_sarif(findings: list[Finding]) -> str:
    used = {f.rule.id for f in findings}
    rules = [{"id": r.id, "shortDescription": {"text": r.title}} for r in RULES.values() if r.id in used]
    results = [
        {
            "ruleId": f.rule.id,
            "level": _LEVELS[f.rule.severity],
            "message": {"text": f"{f.message}. What happens: {f.consequence}. Mend: {f.mend}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(f.file)},
                        "region": {"startLine": f.line},
                    }
                }
            ],
        }
        for f in findings
    ]
    driver = {"name": "simfleet lint", "rules": rules}
    log = {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=2) + "\n"


def as_github(findings: list[Finding]) -> str:
    """Workflow commands, which GitHub shows at the lines of a pull request."""
    lines = []
    for f in findings:
        text = f"{f.message}. What happens: {f.consequence}. Mend: {f.mend}"
        place = f"file={_escaped(f.file, ':,')},line={f.line},title={f.rule.id}"
        lines.append(f"::{_COMMANDS[f.rule.severity]} {place}::{_escaped(text)}\n")
    return "".join(lines)


def _escaped(text: str, also: str = "") -> str:
    """As GitHub's runner reads it back; in properties colon and comma are escaped too."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + also else c for c in text)


FORMATS: dict[str, Callable[[list[Finding]], str]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
}
