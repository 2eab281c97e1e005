"""`loadgen schema`: JSON schemas of scenarios and of what runs leave."""

from __future__ import annotations

import json
from typing import Any

from kit.schemas import schema_of
from loadgen.compare.data import ArmsReport
from loadgen.judge.report import Report
from loadgen.records.rundir import Meta
from loadgen.scenario.document import ScenarioDocument
from loadgen.sweep.data import SweepReport

SCHEMAS: dict[str, tuple[type, str]] = {
    "scenario": (ScenarioDocument, "Scenario of loadgen"),
    "report": (Report, "report.json of a run of loadgen"),
    "meta": (Meta, "meta.json of a run of loadgen"),
    "comparison": (ArmsReport, "comparison.json of loadgen compare"),
    "sweep": (SweepReport, "sweep.json of loadgen sweep"),
}


def schema(name: str) -> dict[str, Any]:
    """One of SCHEMAS."""
    return schema_of(name, *SCHEMAS[name])


def schema_text(name: str) -> str:
    """The same as a file holds it."""
    return json.dumps(schema(name), indent=1)
